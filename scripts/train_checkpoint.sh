#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Records the demonstrations and trains the checkpoint that comes with the simulation, from
# nothing: about three hours on two cores. What was done already is taken up again.
# Usage: scripts/train_checkpoint.sh FOLDER
set -euo pipefail

work="${1:?usage: scripts/train_checkpoint.sh FOLDER}"
architecture=src/smolvla_policy/smolvla_policy/training/architectures/small.json

record() { # NAME EPISODES [options]
    local name="$1" episodes="$2" again=()
    shift 2
    if [ -d "$work/data/$name" ]; then again=(--resume); fi
    python -m smolvla_sim.record_dataset --task "$name" --episodes "$episodes" --grounding \
        --out "$work/data/$name" "${again[@]}" "$@"
}

train() { # STAGE [options]
    local stage="$1"
    shift
    if [ -e "$work/$stage/checkpoints/last" ]; then
        torchrun --standalone --nproc-per-node 2 -m smolvla_policy.training.train \
            --resume --output "$work/$stage"
        return
    fi
    # Left over from a start that was interrupted before its first checkpoint.
    rm -rf "${work:?}/$stage"
    torchrun --standalone --nproc-per-node 2 -m smolvla_policy.training.train \
        --output "$work/$stage" --batch-size 32 --threads 1 \
        --brightness 0.05 --color 0.03 --noise 0.01 "$@"
}

last() { # STAGE
    echo "$work/$1/checkpoints/last/pretrained_model"
}

record scenes 700
record reach 1200 --random-starts 0.5 --noise 0.015
record pick_place 1000 --random-starts 0.5 --noise 0.015 --seed 2000000

echo "stage 1 of 3: where things are"
train ground --architecture "$architecture" --scenes "$work/data/scenes" \
    --flow-weight 0 --grounding-weight 1 --steps 700
echo "stage 2 of 3: reach"
train reach --checkpoint "$(last ground)" --dataset "$work/data/reach" \
    --scenes "$work/data/scenes" --shares 0.85 0.15 --grounding-weight 0.3 \
    --draws 4 --lr 1.2e-3 --steps 800
echo "stage 3 of 3: reach, pick and place"
train joint --checkpoint "$(last reach)" --dataset "$work/data/reach" "$work/data/pick_place" \
    --scenes "$work/data/scenes" --shares 0.25 0.63 0.12 --grounding-weight 0.2 \
    --draws 4 --lr 1.2e-3 --steps 4500
echo "done: $(last joint)"
