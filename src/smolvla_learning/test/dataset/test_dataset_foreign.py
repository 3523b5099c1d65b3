# SPDX-License-Identifier: Apache-2.0
"""What LeRobot and its tools write besides color videos, and other ways of declaring cameras."""

import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from smolvla_learning.dataset import Dataset, DatasetError, DatasetWriter, VideoOptions
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.dataset.commands import inspect

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"
TOP = "observation.images.top"
DEPTH = "observation.images.top_depth"


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def declare(folder, name, **about):
    """Change what meta/info.json says of a feature."""
    edit_json(
        folder / "meta/info.json",
        lambda info: info["features"].setdefault(name, {}).update(about),
    )


def encode(path, codec, images, pix_fmt, fps=10, **options):
    """Write a video file of images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = pix_fmt, Fraction(1, fps)
        for at, image in enumerate(images):
            kind = "rgb24" if image.ndim == 3 else "gray16le"
            frame = av.VideoFrame.from_ndarray(image, format=kind)
            frame.pts, frame.time_base = at, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def pictures_of(dataset, camera=TOP):
    return [
        picture
        for episode in dataset.episodes
        for picture in dataset.frames(camera, episode.index)
    ]


def sound(folder, capsys):
    """Check that `inspect --deep` has no complaint, and return what it prints."""
    status = inspect([str(folder), "--deep"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ([3, 32, 48], ["channels", "height", "width"]),
        ([3, 32, 48], ["channel", "height", "width"]),
        ([48, 32, 3], ["width", "height", "channel"]),
        ([3, 32, 48], ["height", "width", "channels"]),  # names that contradict the sizes
        ([3, 32, 48], {"axes": ["channels", "height", "width"]}),
        ([3, 32, 48], None),
        ([32, 48, 3], None),
    ],
)
def test_the_layout_of_a_camera_follows_its_names(copy, capsys, shape, names):
    before = pictures_of(Dataset.open(copy))
    declare(copy, TOP, shape=shape, names=names)
    sound(copy, capsys)
    dataset = Dataset.open(copy)
    assert dataset.features[TOP].shape == (32, 48, 3)
    assert dataset.image_size(TOP) == (32, 48)
    assert np.array_equal(pictures_of(dataset), before)


def test_a_dataset_with_channels_first_is_continued_as_it_is(copy, scene, capsys):
    declare(copy, TOP, shape=[3, 32, 48], names=["channels", "height", "width"])
    with DatasetWriter.resume(copy) as writer:
        scene.record(writer, [5])
    sound(copy, capsys)
    about = json.loads((copy / "meta/info.json").read_text())["features"][TOP]
    assert about["shape"] == [3, 32, 48]
    assert about["names"] == ["channels", "height", "width"]


def test_a_size_that_is_not_that_of_the_images_is_told(copy, capsys):
    declare(copy, TOP, shape=[3, 48, 32], names=["channels", "height", "width"])
    assert inspect([str(copy)]) == 1
    assert "the images are 48x32, meta/info.json says 32x48" in capsys.readouterr().err


def test_hevc_with_open_groups_of_pictures_is_read_from_each_episode_on(tmp_path, scene, capsys):
    folder = scene.make(tmp_path / "d", [3, 3, 4, 3, 4])
    # libx265 of PyAV's wheels spoils its memory on pictures less than 64 pixels wide.
    noise = np.random.default_rng(3).integers(0, 256, (64, 90, 1), np.uint8).repeat(3, axis=2)
    expected = [np.ascontiguousarray(noise[:, at : at + 64]) for at in range(17)]
    # A keyframe every fourth frame, with frames before it that need the group before.
    options = {"g": "4", "crf": "4", "x265-params": "log-level=none"}
    encode(folder / VIDEO, "libx265", expected, "yuv420p", **options)
    declare(folder, TOP, shape=[64, 64, 3])
    sound(folder, capsys)
    dataset = Dataset.open(folder)
    for episode in dataset.episodes:
        found = np.stack(list(dataset.frames(TOP, episode.index)))
        wanted = np.stack(expected[episode.from_index : episode.to_index])
        assert np.abs(found.astype(int) - wanted).mean() < 6


def test_a_frame_that_cannot_be_sought_is_found_by_inspect(copy, capsys):
    """`inspect --deep` decodes as the training does: what one cannot read, the other tells."""
    images = pictures_of(Dataset.open(copy))
    encode(copy / VIDEO, "libx264", images, "yuv420p", g="2", bf="0")
    # The frames from 6 on are shown one later, so that one is missing and their number is right.
    with av.open(str(copy / VIDEO)) as source:
        stream = source.streams.video[0]
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        with av.open(str(copy / "lacking.mp4"), "w") as target:
            made = target.add_stream_from_template(stream, opaque=True)
            step = packets[1].pts - packets[0].pts
            for at, packet in enumerate(packets):
                packet.stream = made
                packet.pts = packet.dts = (at if at < 6 else at + 1) * step
                target.mux(packet)
    (copy / "lacking.mp4").replace(copy / VIDEO)
    assert inspect([str(copy), "--deep"]) == 1
    output = capsys.readouterr().err
    assert f"{VIDEO}: episode 1: " in output
    assert "frame 6 (at 0.600 s) is missing" in output
    with pytest.raises(DatasetError, match=r"frame 6 \(at 0.600 s\) is missing"):
        list(Dataset.open(copy).frames(TOP, 1))


def add_depth(folder, info):
    """Add a depth camera as LeRobot keeps it: hevc, gray of 12 bits, one channel."""
    images = [np.full((32, 96), 400 + 30 * at, np.uint16) for at in range(14)]
    options = {"g": "2", "x265-params": "log-level=none:lossless=1"}
    path = folder / VIDEO.replace(TOP, DEPTH)
    encode(path, "libx265", images, "gray12le", **options)
    about = {"dtype": "video", "shape": [32, 96, 1], "names": ["height", "width", "channels"]}
    declare(folder, DEPTH, **about, **info)
    table = pq.read_table(folder / EPISODES)
    for key in ("chunk_index", "file_index", "from_timestamp", "to_timestamp"):
        table = table.append_column(f"videos/{DEPTH}/{key}", table[f"videos/{TOP}/{key}"])
    pq.write_table(table, folder / EPISODES)
    edit_json(
        folder / "meta/stats.json",
        lambda stats: stats.update({DEPTH: {**stats["index"], "mean": [[[500.0]]]}}),
    )


@pytest.mark.parametrize(
    "info",
    [
        {"info": {"is_depth_map": True, "video.pix_fmt": "gray12le"}},
        {"info": {"video.is_depth_map": True}},
        {"video_info": {"video.is_depth_map": True}},
        {"info": {"video.pix_fmt": "gray12le"}},
    ],
)
def test_a_depth_camera_is_left_out_with_its_name(copy, capsys, info):
    add_depth(copy, info)
    output = sound(copy, capsys)
    assert f"depth     {DEPTH}: 96x32 hevc gray12le, 1 files, 0.0 MB; left out" in output
    dataset = Dataset.open(copy)
    assert dataset.cameras == [TOP]
    assert dataset.depth_cameras == [DEPTH]
    with pytest.raises(
        DatasetError, match=f"'{DEPTH}' is a depth camera.* choose a color .*{TOP}"
    ):
        list(dataset.frames(DEPTH, 0))
    with pytest.raises(DatasetError, match=f"'{DEPTH}' is a depth camera"):
        DatasetWriter.resume(copy)


def test_depth_that_is_declared_as_color_is_an_error(copy, capsys):
    add_depth(copy, {})
    assert inspect([str(copy)]) == 1
    assert f"holds depth (gray12le), but meta/info.json calls '{DEPTH}'" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="holds depth"):
        list(Dataset.open(copy).frames(DEPTH, 0))


def annotate(folder, spoken):
    """Add the columns of LeRobot's annotations, with the types that pyarrow infers."""
    table = pq.read_table(folder / DATA)
    lasting = {"role": "assistant", "content": "reach", "style": "subtask", "timestamp": 0.0}
    call = {"type": "function", "function": {"name": "say", "arguments": {"text": "yes"}}}
    event = {"role": "assistant", "content": None, "style": None, "tool_calls": [call]}
    columns = {
        "language_persistent": [[{**lasting, "camera": None}]] * len(table),
        "language_events": [[event] if spoken and at == 2 else [] for at in range(len(table))],
    }
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
        declare(folder, name, dtype="language", shape=[1], names=None)
    pq.write_table(table, folder / DATA)
    edit_json(folder / "meta/info.json", lambda info: info.update(tools=[{"type": "function"}]))
    return columns


@pytest.mark.parametrize("spoken", [True, False])
def test_an_annotated_dataset_is_read_kept_and_continued(copy, scene, capsys, spoken):
    columns = annotate(copy, spoken)
    sound(copy, capsys)
    dataset = Dataset.open(copy)
    assert set(dataset.stats["action"]) >= {"mean", "std"}
    assert dataset.column("action").shape == (14, 2)
    with pytest.raises(DatasetError, match="'language_events' holds annotations"):
        dataset.column("language_events")
    kept = pq.read_table(copy / DATA).to_pydict()
    with DatasetWriter.resume(copy, features=scene.features) as writer:
        assert set(writer.features) == set(scene.features)
        scene.record(writer, [6])
    sound(copy, capsys)
    assert pq.read_table(copy / DATA).to_pydict() == kept
    before, added = (pq.read_table(copy / DATA.replace("000.p", f"00{at}.p")) for at in (0, 1))
    assert added.schema.equals(before.schema), "LeRobot reads all files with one schema"
    for name in columns:
        assert added[name].to_pylist() == [[]] * 6
    info = json.loads((copy / "meta/info.json").read_text())
    assert info["tools"] == [{"type": "function"}]
    assert info["features"]["language_events"]["dtype"] == "language"


def test_an_interrupted_continuation_of_an_annotated_dataset_is_read(copy, scene):
    annotate(copy, True)
    writer = DatasetWriter.resume(copy)
    scene.record(writer, [2])
    dataset = Dataset.open(copy)
    assert not find_problems(dataset, deep=True)
    assert dataset.num_frames == 16
    assert dataset.stats["action"]["count"] == [16]
    writer.close()


def inside_parquet(folder, picture, shape, names, row_group_size):
    """Bring the images of the camera into the parquet file, as LeRobot does without videos."""
    images = pictures_of(Dataset.open(folder))
    table = pq.read_table(folder / DATA)
    rows = [picture(image, at) for at, image in enumerate(images)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = table.append_column(TOP, pa.array(rows, kind))
    pq.write_table(table, folder / DATA, row_group_size=row_group_size)
    episodes = pq.read_table(folder / EPISODES)
    columns = [name for name in episodes.column_names if not name.startswith("videos/")]
    pq.write_table(episodes.select(columns), folder / EPISODES)
    (folder / VIDEO).unlink()
    declare(folder, TOP, dtype="image", shape=shape, names=names)
    edit_json(folder / "meta/info.json", lambda info: info.update(video_path=None))
    return images


def png(image, at=0):
    content = image[..., ::-1] if image.ndim == 3 else image  # OpenCV writes BGR
    _, data = cv2.imencode(".png", content)
    return {"bytes": data.tobytes(), "path": f"frame-{at:06d}.png"}


@pytest.mark.parametrize(
    ("shape", "names", "row_group_size"),
    [
        ([32, 48, 3], ["height", "width", "channel"], 100),
        ([3, 32, 48], ["channels", "height", "width"], 3),
    ],
)
def test_pictures_inside_parquet_are_read(copy, capsys, shape, names, row_group_size):
    images = inside_parquet(copy, png, shape, names, row_group_size)
    output = sound(copy, capsys)
    assert f"camera    {TOP}: 48x32 pictures inside parquet" in output
    dataset = Dataset.open(copy)
    assert dataset.cameras == [TOP]
    assert dataset.image_size(TOP) == (32, 48)
    assert np.array_equal(pictures_of(dataset), images)
    assert np.array_equal(list(dataset.frames(TOP, 2)), images[11:])
    with pytest.raises(DatasetError, match="is a camera; read it with frames"):
        dataset.column(TOP)
    with pytest.raises(DatasetError, match=r"--operation.type convert_image_to_video"):
        DatasetWriter.resume(copy)


def test_pictures_beside_the_parquet_file_are_read(copy, capsys):
    def beside(image, at):
        path = copy / "images" / f"{at}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(image)["bytes"])
        return {"bytes": None, "path": f"images/{at}.png"}

    images = inside_parquet(copy, beside, [32, 48, 3], None, 100)
    sound(copy, capsys)
    assert np.array_equal(pictures_of(Dataset.open(copy)), images)
    (copy / "images/5.png").unlink()
    assert inspect([str(copy), "--deep"]) == 1
    assert f"{DATA}: row 5: '{TOP}': refers to images/5.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bad", "output"),
    [
        (lambda: {"bytes": b"no picture", "path": None}, "is damaged or cut short"),
        (lambda: {"bytes": None, "path": None}, "holds no picture"),
        (lambda: png(np.full((32, 48), 900, np.uint16)), "holds depth"),
        (lambda: png(np.zeros((48, 32, 3), np.uint8)), "the images are 32x48"),
    ],
)
def test_a_bad_picture_is_reported_with_its_place(copy, capsys, bad, output):
    def sixth_is_bad(image, at):
        return bad() if at == 6 else png(image, at)

    inside_parquet(copy, sixth_is_bad, [32, 48, 3], None, 100)
    assert inspect([str(copy)]) == 0, "only --deep looks at all of them"
    assert inspect([str(copy), "--deep"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert output in line
    assert DATA in line
    assert "row 6" in line or "episode 1, frame 2" in line


@pytest.mark.parametrize("name", [TOP, "grounding.top"])
def test_what_lerobots_tools_leave_without_statistics_is_no_error(copy, capsys, name):
    edit_json(copy / "meta/stats.json", lambda stats: stats.pop(name))
    assert f"note      no statistics of {name}; the training needs none" in sound(copy, capsys)
    dataset = Dataset.open(copy)
    assert dataset.without_statistics == [name]
    assert "action" in dataset.stats


def test_videos_of_another_encoder_in_one_dataset(copy, scene, capsys):
    """LeRobot's merge without joining files leaves as many files and codecs as there were."""
    with DatasetWriter.resume(copy, video=VideoOptions(crf=45)) as writer:
        scene.record(writer, [3])
    declare(copy, TOP, info={"video.codec": "hevc", "video.g": 2, "video.crf": 30, "extra": {}})
    sound(copy, capsys)
