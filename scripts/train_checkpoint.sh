#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Records the demonstrations and trains the checkpoints that come with the simulation, from
# nothing: about five and a quarter hours on two cores for the one at 15 Hz, and an hour and three
# quarters more for the one at 30 Hz. What was done already is taken up again.
# Usage: scripts/train_checkpoint.sh FOLDER
set -euo pipefail

work="${1:?usage: scripts/train_checkpoint.sh FOLDER}"
architecture=src/smolvla_learning/smolvla_learning/training/architectures/small.json

record() { # NAME KIND EPISODES [options]
    local name="$1" kind="$2" episodes="$3" again=()
    shift 3
    if [ -d "$work/data/$name" ]; then again=(--resume); fi
    smolvla dataset simulate --kind "$kind" --episodes "$episodes" --grounding \
        --output "$work/data/$name" "${again[@]}" "$@"
}

train() { # STAGE [options]
    local stage="$1"
    shift
    if [ -e "$work/$stage/checkpoints/last" ]; then
        torchrun --standalone --nproc-per-node 2 -m smolvla_learning.training.train \
            --resume --output "$work/$stage"
        return
    fi
    # Left over from a start that was interrupted before its first checkpoint.
    rm -rf "${work:?}/$stage"
    torchrun --standalone --nproc-per-node 2 -m smolvla_learning.training.train \
        --output "$work/$stage" --batch-size 32 --threads 1 \
        --brightness 0.05 --color 0.03 --noise 0.01 "$@"
}

last() { # STAGE
    echo "$work/$1/checkpoints/last/pretrained_model"
}

record scenes scenes 700
record reach reach 1200 --random-starts 0.5 --noise 0.015
record pick_place pick_place 1000 --random-starts 0.5 --noise 0.015 --seed 2000000

echo "stage 1 of 8: where things are"
train ground --architecture "$architecture" --scenes "$work/data/scenes" \
    --flow-weight 0 --grounding-weight 1 --steps 700
echo "stage 2 of 8: reach"
train reach --checkpoint "$(last ground)" --dataset "$work/data/reach" \
    --scenes "$work/data/scenes" --shares 0.85 0.15 --grounding-weight 0.3 \
    --draws 4 --lr 1.2e-3 --steps 800
echo "stage 3 of 8: reach, pick and place"
train joint --checkpoint "$(last reach)" --dataset "$work/data/reach" "$work/data/pick_place" \
    --scenes "$work/data/scenes" --shares 0.25 0.63 0.12 --grounding-weight 0.2 \
    --draws 4 --lr 1.2e-3 --steps 4500
echo "stage 4 of 8: how to go on from where its own errors lead"
# By its whole path: the recordings resume only with the same checkpoint.
driver="$(realpath "$(last joint)")"
record pick_recover1 pick_place 550 --random-starts 0.3 --noise 0.015 --seed 9000000 \
    --lead-in "$driver"
record reach_recover1 reach 200 --random-starts 0.3 --noise 0.015 --seed 8000000 \
    --lead-in "$driver"
train recover1 --checkpoint "$(last joint)" \
    --dataset "$work/data/reach" "$work/data/pick_place" "$work/data/pick_recover1" \
    "$work/data/reach_recover1" --scenes "$work/data/scenes" \
    --shares 0.12 0.24 0.42 0.10 0.12 --grounding-weight 0.2 --draws 4 --lr 8e-4 --steps 2400
echo "stage 5 of 8: the same from where it gets to now"
driver="$(realpath "$(last recover1)")"
record pick_recover2 pick_place 600 --random-starts 0.3 --noise 0.015 --seed 9700000 \
    --lead-in "$driver"
train recover2 --checkpoint "$(last recover1)" \
    --dataset "$work/data/reach" "$work/data/pick_place" "$work/data/pick_recover2" \
    --scenes "$work/data/scenes" \
    --shares 0.12 0.22 0.57 0.09 --grounding-weight 0.2 --draws 4 --lr 6e-4 --steps 2200
echo "stage 6 of 8: once more, with more of them"
driver="$(realpath "$(last recover2)")"
record pick_recover3 pick_place 1000 --random-starts 0.3 --noise 0.015 --seed 9900000 \
    --lead-in "$driver"
train recover3 --checkpoint "$(last recover2)" \
    --dataset "$work/data/reach" "$work/data/pick_place" "$work/data/pick_recover3" \
    --scenes "$work/data/scenes" \
    --shares 0.10 0.18 0.64 0.08 --grounding-weight 0.2 --draws 4 --lr 8e-4 --steps 4000
echo "at 15 Hz, in chunks of 16: $(last recover3)"

at_30_hz() { # NAME KIND EPISODES [options]
    record "$@" --fps 30 --noise 0.015
}

# Up to a second of delay: 30 actions.
for_delays=(--rtc-delay 30 --state-offset 30)

echo "stage 7 of 8: chunks of 50 at 30 Hz, also for asynchronous execution"
driver="$(realpath "$(last recover3)")"
at_30_hz reach_30 reach 250 --random-starts 0.5
at_30_hz pick_30 pick_place 400 --random-starts 0.5 --seed 2000000
at_30_hz pick_30_lead pick_place 400 --random-starts 0.3 --seed 9000000 --lead-in "$driver"
at_30_hz reach_30_lead reach 120 --random-starts 0.3 --seed 8000000 --lead-in "$driver"
train chunk_50 --checkpoint "$(last recover3)" --chunk-size 50 "${for_delays[@]}" \
    --dataset "$work/data/reach_30" "$work/data/pick_30" "$work/data/pick_30_lead" \
    "$work/data/reach_30_lead" \
    --shares 0.12 0.42 0.38 0.08 --grounding-weight 0.1 --draws 3 --lr 1e-3 --steps 2000
echo "stage 8 of 8: how to go on from where its own errors lead, with delays of up to a second"
driver="$(realpath "$(last chunk_50)")"
at_30_hz pick_30_recover pick_place 400 --random-starts 0.3 --seed 9300000 --lead-in "$driver"
at_30_hz reach_30_recover reach 100 --random-starts 0.3 --seed 8300000 --lead-in "$driver"
train recover_50 --checkpoint "$(last chunk_50)" "${for_delays[@]}" \
    --dataset "$work/data/reach_30" "$work/data/pick_30" "$work/data/pick_30_lead" \
    "$work/data/reach_30_lead" "$work/data/pick_30_recover" "$work/data/reach_30_recover" \
    --shares 0.07 0.25 0.22 0.06 0.34 0.06 --grounding-weight 0.1 \
    --draws 3 --lr 8e-4 --steps 3500
echo "at 30 Hz, in chunks of 50: $(last recover_50)"
