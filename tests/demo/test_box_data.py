# SPDX-License-Identifier: Apache-2.0
"""Readers of COCO, VOC and mask folders: what they read, and how they refuse what does not fit, by the file's name."""

import json
from argparse import Namespace

import numpy as np
import pytest
from augment import augment, crop, expand, mirror
from box_source import BoxSource
from coco import Coco
from commands import run
from data import BadData, batches, load_source, spec_of
from masks import MaskFolder
from pictures import Picture, read_rgb
from PIL import Image
from voc import Voc

EMPTY = [[3, 4, 0, 6], [3, 4, 5, -6], [3, 4, 0.5, 0.5], [-9, -9, 5, 5]]
GRAY = np.full((20, 30, 3), 110, np.uint8)


@pytest.fixture
def coco(tmp_path):
    """Two images: the first with a box, one that reaches out, and a crowd; the second empty."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(GRAY).save(tmp_path / "images" / name)
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 20, "width": 30}, {"id": 3, "file_name": "b.png"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [3, 4, 5, 6], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [20, 10, 50, 50]},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 10, 10], "iscrowd": 1},
        ],
    }


def read(tmp_path, content):
    (tmp_path / "train.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return Coco(tmp_path / "train.json", [tmp_path / "images"])


def test_coco_boxes_are_cut_at_the_edge_and_categories_counted_by_id(coco, tmp_path):
    first, second = read(tmp_path, coco)
    assert first.boxes.tolist() == [[3, 4, 8, 10], [20, 10, 30, 20], [0, 0, 10, 10]]
    assert first.kinds.tolist() == [1, 0, 0] and first.counted.tolist() == [True, True, False]
    assert len(second.boxes) == 0 and second.size == (20, 30)


def change(coco, what):
    {
        "category": lambda: coco["annotations"][0].update(category_id=99),
        "image": lambda: coco["annotations"][0].update(image_id=99),
        "no box": lambda: coco["annotations"][0].pop("bbox"),
        "three": lambda: coco["annotations"][0].update(bbox=[1, 2, 3]),
        "nan": lambda: coco["annotations"][0].update(bbox=[1, 2, float("nan"), 4]),
        "file": lambda: coco["images"][1].update(file_name="c.png"),
        "size": lambda: coco["images"][0].update(height=30, width=20),
        "part": lambda: coco.pop("images"),
        "twice": lambda: coco["categories"].append({"id": 1, "name": "cat"}),
        "same id": lambda: coco["images"][1].update(id=7),
        "no name": lambda: coco["images"][1].pop("file_name"),
        "no id": lambda: coco["categories"][0].pop("id"),
        "words": lambda: coco["annotations"][0].update(bbox=["1", 2, 3, None]),
        "null": lambda: coco.update(annotations=None),
        "text": lambda: coco["annotations"].append("person"),
    }[what]()
    return coco


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("category", r"one of the file's \[1, 18\], got 99 in annotation 1 of .*train.json; add it"),
        ("image", "got image_id 99 in annotation 1 of .*train.json"),
        ("no box", "annotation 1 of .*train.json must have `bbox`, but it has none; add it"),
        ("three", r"must be \[left, top, width, height\], got \[1, 2, 3\] in annotation 1 of"),
        ("nan", "finite numbers, got .* in .*train.json, a.png"),
        ("file", "train.json lists 1 of 2 files that are not there: .*c.png; put them there"),
        ("size", "a.png must be of 20 x 30 pixels as .*train.json says, got 30 x 20"),
        ("part", "train.json must be json as COCO has it, .* no list of images"),
        ("twice", "train.json must have categories with ids of their own"),
        ("same id", "images must have ids of their own, got 7 more than once in .*train.json"),
        ("no name", "image 1 of .*train.json must have `file_name`, but it has none"),
        ("no id", "category 0 of .*train.json must have `id`"),
        ("words", r"must be \[left, top, width, height\], got \['1', 2, 3, None\] in annotation 1 of"),
        ("null", "train.json must be json as COCO has it, .* no list of annotations"),
        ("text", "annotations must hold objects with keys, got 'person' as number 3 in .*train.json"),
    ],
)
def test_a_coco_file_that_does_not_fit_is_refused_by_name(coco, tmp_path, what, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, change(coco, what))[0]


def test_a_broken_coco_file_and_another_list_of_categories_are_refused(coco, tmp_path):
    with pytest.raises(ValueError, match="train.json must be json as COCO has it, but"):
        read(tmp_path, "{")
    read(tmp_path, coco)
    with pytest.raises(ValueError, match="categories of the other split, got another one, .*18, 'dog'"):
        Coco(tmp_path / "train.json", [tmp_path / "images"], ((1, "person"), (2, "dog")))


def test_boxes_outside_of_the_image_are_left_out_with_a_word(coco, tmp_path, caplog):
    coco["annotations"][0]["bbox"] = [40, 4, 5, 6]
    with caplog.at_level("WARNING", "train"):
        assert len(read(tmp_path, coco)[0].boxes) == 2
    assert "train.json, a.png: a box of less than one pixel" in caplog.text


VOC = """<annotation><size><width>30</width><height>20</height></size>
<object><name>dog</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object>
<object><name>person</name><bndbox><xmin>11.5</xmin><ymin>1</ymin><xmax>99</xmax><ymax>20</ymax></bndbox></object></annotation>"""


@pytest.fixture
def voc(tmp_path):
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(GRAY).save(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "Annotations" / "a.xml").write_text(VOC)
    (tmp_path / "trainval.txt").write_text("JPEGImages/a.png Annotations/a.xml\n")
    (tmp_path / "ImageSets" / "Main" / "trainval.txt").write_text("a\n")
    return tmp_path


@pytest.mark.parametrize("listing", ["trainval.txt", "ImageSets/Main/trainval.txt"])
def test_voc_counts_pixels_from_one_and_difficult_objects_do_not_count(voc, listing):
    (picture,) = Voc(voc / listing, ["person", "dog"])
    assert picture.boxes.tolist() == [[0, 0, 10, 20], [10.5, 0, 30, 20]]
    assert picture.kinds.tolist() == [1, 0] and picture.counted.tolist() == [False, True]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<name>dog", "<name>cow", "one of person, dog, got 'cow' in .*a.xml; .*label_list.txt"),
        ("11.5", "x", "<bndbox/xmin> must be a number, got 'x' in .*a.xml"),
        ("</annotation>", "", "a.xml must be xml as VOC has it"),
        ("<width>30", "<width>31", "a.png must be of 31 x 20 pixels as .*a.xml says, got 30 x 20"),
    ],
)
def test_an_xml_file_that_does_not_fit_is_refused_by_name(voc, old, new, message):
    (voc / "Annotations" / "a.xml").write_text(VOC.replace(old, new))
    with pytest.raises(ValueError, match=message):
        Voc(voc / "trainval.txt", ["person", "dog"])[0]


def test_a_list_that_windows_wrote_is_read(voc):
    (voc / "trainval.txt").write_bytes(b"\xef\xbb\xbfJPEGImages/a.png Annotations/a.xml\r\n")
    assert len(Voc(voc / "trainval.txt", ["person", "dog"])[0].boxes) == 2


@pytest.mark.parametrize("between", [" ", "\t", "   "])
def test_paths_of_lists_may_have_spaces(between, voc):
    (voc / "JPEGImages" / "a.png").rename(voc / "JPEGImages" / "my dög 1.png")
    (voc / "Annotations" / "a.xml").rename(voc / "Annotations" / "my dög 1.xml")
    line = f"JPEGImages/my dög 1.png{between}Annotations/my dög 1.xml"
    (voc / "trainval.txt").write_text(line + "\n", encoding="utf-8")
    assert len(Voc(voc / "trainval.txt", ["person", "dog"])[0].boxes) == 2
    Image.fromarray(np.ones((20, 30), np.uint8)).save(voc / "my mask.png")
    (voc / "train.txt").write_text(f"JPEGImages/my dög 1.png{between}my mask.png\n", encoding="utf-8")
    assert len(MaskFolder(voc / "train.txt", size=(32, 32), classes=2)) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_a_run_is_named_by_the_process_that_asks(workers, coco, tmp_path):
    source = BoxSource(read(tmp_path, coco), size=(32, 32), most=1)
    (tmp_path / "images" / "b.png").write_bytes(b"not an image")
    with pytest.raises(BadData, match="b.png must be an image, but"):
        list(batches(source, 1, num_workers=workers))


def test_a_list_of_voc_that_does_not_fit_is_refused(voc):
    (voc / "trainval.txt").write_text("a\n")
    with pytest.raises(ValueError, match="must be 'image xml', got 'a' in line 1 of .*trainval.txt"):
        Voc(voc / "trainval.txt", ["person"])
    (voc / "trainval.txt").write_text("a.jpg a.xml\n")
    with pytest.raises(ValueError, match="lists 2 of 2 files that are not there: .*a.jpg"):
        Voc(voc / "trainval.txt", ["person"])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA", "I;16"])
def test_images_of_every_kind_are_read_as_three_channels(mode, tmp_path):
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 30), 110 * 257, np.uint16))
    else:
        image = Image.fromarray(GRAY).convert(mode)
    file = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    image.save(file)
    found = read_rgb(file)
    assert found.shape == (20, 30, 3) and found.dtype == np.uint8
    assert mode == "1" or abs(int(found[5, 5, 0]) - 110) < 10  # of the palette


@pytest.mark.parametrize("turned", [True, False])
def test_a_photo_is_turned_as_its_exif_tag_says_unless_only_the_annotation_knows_better(turned, coco, tmp_path):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :10] = 255  # the left third, which is the upper third as a viewer shows it
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png", exif=tag)
    assert read_rgb(tmp_path / "images" / "a.png").shape == (30, 20, 3)
    coco["images"][0].update(dict(zip(("height", "width"), (30, 20) if turned else (20, 30))))
    found = read(tmp_path, coco)[0].pixels
    assert (found[:10] if turned else found[:, :10]).all() and found.mean() == 85


def test_boxes_without_area_are_left_out_with_a_word(coco, tmp_path, caplog):
    coco["annotations"] = [{"id": i, "image_id": 7, "category_id": 1, "bbox": box} for i, box in enumerate(EMPTY)]
    with caplog.at_level("WARNING", "train"):
        assert len(read(tmp_path, coco)[0].boxes) == 0
    assert caplog.text.count("train.json, a.png: a box of less than one pixel") == len(EMPTY)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(ValueError, match="a.jpg must be an image, but"):
        read_rgb(tmp_path / "a.jpg")


def picture():
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:20, 5:25] = 255
    return Picture(pixels, np.float32([[5, 10, 25, 20]]), np.array([2]), np.array([True]))


@pytest.mark.parametrize("change", [mirror, expand, crop])
def test_boxes_move_with_what_is_in_them(change):
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = change(picture(), *([] if change is mirror else [rng]))
        (left, top, right, bottom), white = found.boxes[0].round().astype(int), (found.pixels == 255).all(-1)
        assert white[top:bottom, left:right].all() and white.sum() == (bottom - top) * (right - left)


def test_augmented_pictures_are_the_same_for_the_same_seed():
    first, again = (augment(picture(), np.random.default_rng(3)) for _ in range(2))
    assert (first.pixels == again.pixels).all() and (first.boxes == again.boxes).all()


def test_batches_train_on_what_counts_and_test_on_all(coco, tmp_path):
    source = BoxSource(read(tmp_path, coco), size=(32, 64), most=1)
    images, boxes, kinds = source.fetch(np.arange(2), None)
    assert images.shape == (2, 3, 32, 64) and boxes.shape == (2, 3, 4) and kinds.tolist() == [[1, 0, -1], [0, 0, 0]]
    assert boxes[0, 0] == pytest.approx([5.5 / 30, 7 / 20, 5 / 30, 6 / 20]) and not boxes[1].any()
    _, boxes, kinds = source.fetch(np.arange(2), np.random.default_rng(0))
    assert boxes.shape == (2, 1, 4) and (kinds >= 0).all()


def test_a_folder_of_masks_is_checked_before_a_run(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    mask = np.zeros((20, 30), np.uint8)
    mask[:5] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    (tmp_path / "train.txt").write_text("a.png m.png\n")
    with pytest.raises(ValueError, match="hold only 0 and 255.*write 1 where they say 255"):
        MaskFolder(tmp_path / "train.txt", size=(32, 32), classes=2)
    mask[9] = 1
    Image.fromarray(mask[:10]).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match="m.png must be as large as its image a.png, got .30, 10. instead of .30, 20."):
        MaskFolder(tmp_path / "train.txt", size=(32, 32), classes=2).fetch(np.array([0]), None)
    (tmp_path / "train.txt").write_text("a.png n.png\n")
    with pytest.raises(ValueError, match="lists 1 of 2 files that are not there: .*n.png"):
        MaskFolder(tmp_path / "train.txt", size=(32, 32), classes=2)


@pytest.mark.parametrize("name", ["coco", "voc", "masks"])
def test_scenes_in_each_format_are_read_back(name, tmp_path):
    run("make_scenes.py", tmp_path, "--format", name, "--train", 4, "--test", 2, "--size", 64)
    spec = spec_of(Namespace(data=name, data_dir=str(tmp_path), image_size=64))
    assert spec.image_shape == (3, 64, 64) and spec.classes == (2 if name == "masks" else 10)
    for split, count in (("train", 4), ("test", 2)):
        source = load_source(name, str(tmp_path), split, 64)
        images, *labels = source.fetch(np.arange(count), np.random.default_rng(0) if split == "train" else None)
        assert len(source) == count and images.shape == (count, 3, 64, 64)
        assert (labels[0].max() == 1) if name == "masks" else (labels[0][..., 2] > 0).any()


@pytest.mark.parametrize("data", ["scenes", "scene_boxes"])
def test_scenes_to_calibrate_on_are_the_training_images_alone(data, tmp_path):
    run("make_scenes.py", tmp_path, "--train", 4, "--test", 1, "--size", 64)
    words = ("--data", data, "--data_dir", tmp_path, "--image_size", 64, "--count", 3)
    run("calibration_images.py", tmp_path / "images.npy", *words)
    images = np.load(tmp_path / "images.npy")
    assert images.shape == (3, 3, 64, 64)
    assert (images == load_source(data, str(tmp_path), "train", 64).fetch(np.arange(3), None)[0]).all()
