# SPDX-License-Identifier: Apache-2.0
"""Boxes of detectors, and planes that are read at places which others give, as ONNX nodes."""

from __future__ import annotations

from .builder import Builder, Converter, Op, list_of, number, out, word


def _grid_sample(b: Builder, op: Op) -> None:
    if b.rank(op["I"][0]["%"]) != 4:
        raise ValueError("only that of planes is known")
    words = {"mode": word(op, "mode"), "padding_mode": word(op, "padding_mode")}
    words |= {"padding_mode": "reflection"} if words["padding_mode"] == "reflect" else {}
    b.node("GridSample", b.names(op), out(op), **words, align_corners=int(bool(word(op, "align_corners"))))


def _affine_grid(b: Builder, op: Op) -> None:
    """[n, 2, 3] times (x, y, 1) of each pixel, from -1 to 1."""
    theta, size, one = b.names(op)[0], list_of(b, op, 1), b.constant(1.0, "float32")
    if b.shape(op["I"][0]["%"])[1] != 2:
        raise ValueError("only that of planes is known")
    corners, lines = word(op, "align_corners"), []
    for axis in (3, 2):  # x, then y
        count = b.node("Gather", [size, b.constant(axis)], axis=0)[0]
        place = b.cast(b.node("Range", [b.constant(0), count, b.constant(1)])[0], "float32")
        whole = b.cast(count, "float32")
        doubled = b.node("Mul", [place, b.constant(2.0, "float32")])[0]
        if corners:
            apart = b.node("Max", [b.node("Sub", [whole, one])[0], one])[0]
            lines += b.node("Sub", [b.node("Div", [doubled, apart])[0], one])
        else:
            lines += b.node("Sub", [b.node("Div", [b.node("Add", [doubled, one])[0], whole])[0], one])
    plane = b.node("Slice", [size, b.constant([2]), b.constant([4])])[0]
    xs = b.node("Expand", [lines[0], plane])[0]
    ys = b.node("Expand", [b.node("Unsqueeze", [lines[1], b.constant([1])])[0], plane])[0]
    three = [b.node("Reshape", [each, b.constant([-1, 1])])[0] for each in (xs, ys)]
    three += b.node("Expand", [one, *b.node("Shape", three[:1])])
    points = b.node("Concat", three, axis=1)[0]
    made = b.node("MatMul", [points, *b.node("Transpose", [theta], perm=[0, 2, 1])])
    shape = b.node("Concat", [b.constant([0]), plane, b.constant([2])], axis=0)
    b.node("Reshape", [*made, *shape], out(op))


def _roi_align(b: Builder, op: Op) -> None:
    """Boxes are those of the first image, then those of the second, ...: `boxes_num` says how many."""
    x, boxes = b.names(op)[:2]
    count = b.cast(b.name(op["I"][2]["%"]), "int64")
    ends = b.node("CumSum", [count, b.constant(0)])[0]
    rows = b.node("Range", [b.constant(0), *b.node("Squeeze", [b.dims(boxes, 0, 1)]), b.constant(1)])[0]
    behind = b.node("GreaterOrEqual", [b.node("Unsqueeze", [rows, b.constant([1])])[0], ends])[0]
    image = b.node("ReduceSum", [b.cast(behind, "int64"), b.constant([1])], keepdims=0)[0]
    words = {"output_height": word(op, "pooled_height"), "output_width": word(op, "pooled_width")}
    place = "half_pixel" if word(op, "aligned") else "output_half_pixel"
    more = {"sampling_ratio": max(0, word(op, "sampling_ratio")), "spatial_scale": word(op, "spatial_scale")}
    b.node("RoiAlign", [x, boxes, image], out(op), coordinate_transformation_mode=place, **words, **more)


def _nms(b: Builder, op: Op) -> None:
    """Places of the boxes that are kept, which come the best first."""
    boxes = b.node("Unsqueeze", [b.names(op)[0], b.constant([0])])[0]
    count = b.node("Gather", [*b.node("Shape", b.names(op)[:1]), b.constant(0)], axis=0)[0]
    places = b.node("Range", [b.constant(0), count, b.constant(1)])[0]
    scores = b.node("Neg", b.node("Cast", [places], to=number("float32")))  # they are in order already
    scores = b.node("Unsqueeze", [*scores, b.constant([0, 1])])
    limit = b.constant([word(op, "threshold")], "float32")
    kept = b.node("NonMaxSuppression", [boxes, *scores, b.node("Reshape", [count, b.constant([1])])[0], limit])
    b.node("Gather", [*kept, b.constant(2)], out(op), axis=1)


def _multiclass_nms(b: Builder, op: Op) -> None:
    """Boxes [n, m, 4] and scores [n, classes, m] -> [kept, 6] of class, score, box; places; and how many of each image.

    Of an image those of the first class come first, the best first; it keeps `keep_top_k` in all.
    """
    if b.is_given(op, 2) or word(op, "nms_eta") < 1 or b.rank(op["I"][1]["%"]) != 3:
        raise ValueError("one with boxes of its own for each class, or `nms_eta` below 1")
    boxes, scores = b.names(op)[:2]
    never, back, top = b.constant(-1e30, "float32"), word(op, "background_label"), word(op, "nms_top_k")
    classes = b.shape(op["I"][1]["%"])[1]
    asked = scores
    if 0 <= back < classes:
        is_back = b.constant([[[i == back] for i in range(classes)]], "bool")
        asked = b.node("Where", [is_back, never, scores])[0]
    if top > 0:
        count = b.node("Min", [b.dims(scores, 2, 3), b.constant([top])])
        best, _ = b.node("TopK", [asked, *count], 2, axis=2, largest=1, sorted=1)
        least = b.node("Slice", [best, b.constant([-1]), b.constant([1 << 40]), b.constant([2])])
        asked = b.node("Where", [b.node("Less", [asked, *least])[0], never, asked])[0]
    places = boxes
    if not word(op, "normalized"):  # the last pixel belongs to the box
        places = b.node("Add", [boxes, b.constant([[[0, 0, 1, 1]]], "float32")])[0]
    limits = [b.constant([word(op, name)], "float32") for name in ("nms_threshold", "score_threshold")]
    kept = b.node("NonMaxSuppression", [places, asked, b.constant([1 << 31]), *limits])[0]  # [kept, 3]
    if word(op, "keep_top_k") > 0:
        kept = _best_of_each(b, kept, scores, word(op, "keep_top_k"))
    image, cls, box = (b.node("Gather", [kept, b.constant(i)], axis=1)[0] for i in range(3))
    chosen = b.node("Concat", [b.node("Unsqueeze", [each, b.constant([1])])[0] for each in (image, box)], axis=1)[0]
    columns = [b.cast(cls, "float32"), *b.node("GatherND", [scores, kept])]
    rows = [b.node("Unsqueeze", [each, b.constant([1])])[0] for each in columns]
    found, index, counts = out(op)
    b.node("Concat", [*rows, *b.node("GatherND", [boxes, chosen])], [found], axis=1)
    flat = b.node("Add", [b.node("Mul", [image, b.dims(boxes, 1, 2)])[0], box])
    b.node("Cast", b.node("Unsqueeze", [*flat, b.constant([1])]), [index], to=number("int32"))
    b.node("Cast", [_count(b, image, scores)], [counts], to=number("int32"))


def _count(b: Builder, image: str, scores: str) -> str:
    """How many boxes each image has."""
    images = b.node("Range", [b.constant(0), *b.node("Squeeze", [b.dims(scores, 0, 1)]), b.constant(1)])[0]
    same = b.node("Equal", [b.node("Unsqueeze", [image, b.constant([1])])[0], images])[0]
    return b.node("ReduceSum", [b.cast(same, "int64"), b.constant([0])], keepdims=0)[0]


def _best_of_each(b: Builder, kept: str, scores: str, most: int) -> str:
    """Those rows of (image, class, box) that are among the best of their image, in the order in which they are."""
    count = b.dims(kept, 0, 1)
    score = b.node("GatherND", [scores, kept])[0]
    image = b.node("Gather", [kept, b.constant(0)], axis=1)[0]
    _, by_score = b.node("TopK", [score, count], 2, largest=1, sorted=1)
    images, by_image = b.node("TopK", [*b.node("Gather", [image, by_score]), count], 2, largest=0, sorted=1)
    order = b.node("Gather", [by_score, by_image])[0]  # TopK keeps equal ones in their order
    starts = b.node("CumSum", [_count(b, image, scores), b.constant(0)], exclusive=1)[0]
    rows = b.node("Range", [b.constant(0), *b.node("Squeeze", [count]), b.constant(1)])[0]
    rank = b.node("Sub", [rows, *b.node("Gather", [starts, images])])
    few = b.node("Compress", [order, *b.node("Less", [*rank, b.constant(most)])])[0]
    sorted_, _ = b.node("TopK", [few, b.node("Shape", [few])[0]], 2, largest=0, sorted=1)
    return b.node("Gather", [kept, sorted_], axis=0)[0]


def _yolo_box(b: Builder, op: Op) -> None:
    """[n, anchors * (5 + classes), h, w] -> boxes [n, anchors * h * w, 4] in pixels of the image, and scores."""
    if word(op, "iou_aware"):
        raise ValueError("one that is aware of overlaps")
    x, image = b.names(op)
    anchors, classes, step = word(op, "anchors"), word(op, "class_num"), word(op, "downsample_ratio")
    count, scale = len(anchors) // 2, word(op, "scale_x_y")
    height, width = (b.dims(x, i, i + 1) for i in (2, 3))
    cells = b.node("Reshape", [x, b.constant([0, count, 5 + classes, -1])])[0]
    cells = b.node("Transpose", [cells], perm=[2, 0, 1, 3])[0]  # [5 + classes, n, anchors, h * w]

    def rows(low: int, high: int) -> str:
        return b.node("Slice", [cells, b.constant([low]), b.constant([high]), b.constant([0])])[0]

    def real(number_: float) -> str:
        return b.constant(number_, "float32")

    places = b.node("Range", [b.constant(0), *b.node("Squeeze", b.node("Mul", [height, width])), b.constant(1)])[0]
    conf = b.node("Sigmoid", [rows(4, 5)])[0]
    is_seen = b.cast(b.node("GreaterOrEqual", [conf, real(word(op, "conf_thresh"))])[0], "float32")
    ends: dict[str, list[str]] = {"low": [], "high": []}
    for i, (kind, extent) in enumerate((("Mod", width), ("Div", height))):
        size = b.node("Slice", [b.cast(image, "float32"), b.constant([1 - i]), b.constant([2 - i]), b.constant([1])])
        pixels = b.node("Unsqueeze", [*size, b.constant([2])])[0]  # [n, 1, 1]
        cell = b.cast(b.node(kind, [places, width])[0], "float32")
        inner = b.node("Mul", [b.node("Sigmoid", [rows(i, i + 1)])[0], real(scale)])[0]
        centre = b.node("Add", [b.node("Add", [inner, real(-0.5 * (scale - 1))])[0], cell])[0]
        each = b.node("Div", [pixels, b.cast(extent, "float32")])[0]
        centre = b.node("Mul", [centre, each])[0]
        anchor = b.constant([[[a / step] for a in anchors[i::2]]], "float32")  # [1, anchors, 1]
        half = b.node("Mul", [b.node("Exp", [rows(2 + i, 3 + i)])[0], b.node("Mul", [anchor, each])[0]])[0]
        half = b.node("Mul", [half, real(0.5)])[0]
        low, high = (b.node(sign, [centre, half])[0] for sign in ("Sub", "Add"))
        if word(op, "clip_bbox"):
            low = b.node("Max", [low, real(0.0)])[0]
            high = b.node("Min", [high, *b.node("Sub", [pixels, real(1.0)])])[0]
        ends["low"].append(low)
        ends["high"].append(high)
    box = b.node("Concat", [*ends["low"], *ends["high"]], axis=0)[0]
    score = b.node("Mul", [b.node("Sigmoid", [rows(5, 5 + classes)])[0], conf])[0]
    for name, to, last in ((box, out(op)[0], 4), (score, out(op)[1], classes)):
        seen = b.node("Transpose", b.node("Mul", [name, is_seen]), perm=[1, 2, 3, 0])
        b.node("Reshape", [*seen, b.constant([0, -1, last])], [to])


CONVERTERS: dict[str, Converter] = {
    "grid_sample": _grid_sample,
    "affine_grid": _affine_grid,
    "roi_align": _roi_align,
    "nms": _nms,
    "multiclass_nms3": _multiclass_nms,
    "yolo_box": _yolo_box,
}
