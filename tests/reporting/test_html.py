# SPDX-License-Identifier: Apache-2.0
"""The HTML report: one file, true numbers, pictures that agree with the weights, and no trust in names."""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import paddle
import pytest
from nets import Net, convnet, linear
from PIL import Image

from paddle_unstructured import UnstructuredPruner
from paddle_unstructured.reporting.html import html_report
from paddle_unstructured.reporting.weight_grid import KEPT, ZERO, density, grid, histogram

pytest.importorskip("jinja2")
pytestmark = pytest.mark.usefixtures("static")

VOID = {"meta", "br", "image", "path", "th", "td"}  # th and td may be left open


class Page(HTMLParser):
    """The tags and the text of a page; a tag that is closed out of turn is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def pictures(self) -> dict[str, np.ndarray]:
        """Label -> pixels [down, across, 3]."""
        labels = [attrs["aria-label"] for tag, attrs in self.tags if attrs.get("class") == "picture"]
        uris = [attrs["href"] for tag, attrs in self.tags if tag == "image"]
        return {
            label: np.array(Image.open(BytesIO(b64decode(uri.split(",")[1]))).convert("RGB"))
            for label, uri in zip(labels, uris)
        }

    @property
    def open_layers(self) -> int:
        return sum(tag == "details" and "open" in attrs for tag, attrs in self.tags)


def pruned_net(**kwargs: Any) -> tuple[Net, Any]:
    net = Net(convnet, [2, 2, 4, 4])
    pruner = UnstructuredPruner(net.program, **(kwargs or {"ratio": 0.5}))
    pruner.step()
    return net, pruner


def named(name: str) -> Net:
    """A net whose weight has a name of somebody's choosing."""
    return Net(linear(2, 2, weight_attr=paddle.ParamAttr(name=name)), [3, 2])


@pytest.fixture
def conv1x1_text():
    """The page of a net whose only 1x1 convolution is half pruned."""
    net, pruner = pruned_net(prune_params_type="conv1x1_only", ratio=0.5)
    return Page(html_report(net.program, pruner=pruner)).text


def test_totals_are_those_of_the_report_and_never_mixed(conv1x1_text):
    text = conv1x1_text
    # 16 weights of 1x1 convolutions among 136 weights, 11 biases, and 8 weights of the norm; 15 of those 19 are 0.
    assert "Selected weights 0.5000 8 of 16 are zero" in text
    assert "All weights 0.1484 23 of 155 are zero" in text
    assert "1×1 conv weights 0.5000 8 of 16 are zero" in text


def test_a_total_of_nothing_says_so():
    assert "1×1 conv weights – the model has none" in Page(html_report(Net(linear(), [3, 4]).program)).text


def test_each_layer_shows_its_name_role_shape_and_sparsity_and_why_it_is_not_pruned(conv1x1_text):
    text = conv1x1_text
    assert "conv2d_1.w_0 conv2d 4×4×1×1 0.5000 8 of 16" in text
    assert "linear_0.w_0 linear 16×3 not selected: not a 1x1 conv2d of one group 0.0000 0 of 48" in text
    assert "7 further params, which are never pruned" in text
    assert "batch_norm2d_0.w_1 norm mean 4 4 of 4 the mean of a norm" in text


def test_the_first_selected_layer_is_open_and_no_other():
    net, pruner = pruned_net(prune_params_type="conv1x1_only", ratio=0.5)
    page = html_report(net.program, pruner=pruner)
    assert Page(page).open_layers == 1
    assert re.search(r"<details open>\s*<summary[^>]*><span[^>]*></span>\s*<span[^>]*>conv2d_1\.w_0<", page)


def test_the_picture_of_a_small_weight_is_its_zero_pattern():
    net, pruner = pruned_net()
    pictures = Page(html_report(net.program, pruner=pruner)).pictures
    kept = net.get("conv2d_0.w_0").transpose(0, 2, 3, 1).reshape(4, 18) != 0
    assert pictures["Zero pattern of conv2d_0.w_0"].tolist() == np.where(kept[..., None], KEPT, ZERO).tolist()
    assert list(pictures) == [f"Zero pattern of {name}" for name in ("conv2d_0.w_0", "conv2d_1.w_0", "linear_0.w_0")]


def test_the_picture_of_a_large_weight_has_shades_and_its_corner_is_exact():
    net = Net(linear(700, 600), [1, 700])
    pruner = UnstructuredPruner(net.program, ratio=0.75)
    pruner.step()
    page = html_report(net.program, pruner=pruner)
    pictures = Page(page).pictures
    weight = net.get("linear_0.w_0")
    kept = density(grid(weight)).kept  # 3x3 weights per pixel
    found = pictures["Zero pattern of linear_0.w_0"]
    assert found.shape[:2] == kept.shape == (200, 234)
    shade = np.rint(kept / kept.max() * 15)[..., None] / 15
    assert np.array_equal(found, np.rint((1 - shade) * ZERO + shade * KEPT))
    corner = weight.T[:32, :32, None] != 0
    assert np.array_equal(pictures["Top left corner of linear_0.w_0"], np.where(corner, KEPT, ZERO))
    assert len(page) < 100_000


def test_blocks_and_n_of_m_can_be_seen_in_the_corner():
    net = Net(linear(64, 64), [1, 64])
    UnstructuredPruner(net.program, pattern="2:4").step()
    corner = Page(html_report(net.program)).pictures["Top left corner of linear_0.w_0"]
    kept = (corner == KEPT).all(-1)
    assert (kept.reshape(32, 8, 4).sum(-1) == 2).all()


def test_histograms_say_when_former_values_are_not_known():
    net, pruner = pruned_net()
    page = Page(html_report(net.program, pruner=pruner))
    weight = net.get("linear_0.w_0")
    counts = f"{(weight != 0).sum()} kept, at their present values. {(weight == 0).sum()} zeros are not drawn: their"
    assert counts in page.text
    assert sum(attrs.get("class") == "pruned" for tag, attrs in page.tags if tag == "path") == 0


def test_histograms_show_former_values_of_pruned_weights_where_they_are_given():
    net = Net(convnet, [2, 2, 4, 4])
    pruner = UnstructuredPruner(net.program, ratio=0.5)
    before = {"linear_0.w_0": net.get("linear_0.w_0"), "of another Program": np.ones(3)}
    pruner.step()
    page = Page(html_report(net.program, pruner=pruner, before=before))
    weight = net.get("linear_0.w_0")
    assert f"{(weight == 0).sum()} zeros, at the values they had before" in page.text
    paths = [attrs["d"] for tag, attrs in page.tags if attrs.get("class") == "pruned" and tag == "path"]
    counts = histogram(weight, before["linear_0.w_0"])
    stacked = counts.kept + counts.pruned
    heights = [100 - float(top) for top in re.findall(r"V([\d.]+)h1", paths[0])]
    assert len(paths) == 1 and heights == pytest.approx(list(100 * stacked / stacked.max()), abs=0.05)  # 4 digits


def test_the_page_needs_nothing_but_itself():
    net, pruner = pruned_net()
    page = html_report(net.program, pruner=pruner)
    assert page.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|<script|<link|@import|url\(|\bsrc=|javascript:", page)
    assert all(uri.startswith("data:image/png;base64,") for uri in re.findall(r'href="([^"]*)', page))


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "a&lt;b",
        "{{ 7*7 }}",
        "' onclick='alert(1)",
        "</title></style></svg>",
    ],
)
def test_names_are_shown_as_they_are_and_never_run(name):
    net = named(name)
    page = Page(html_report(net.program, title=name))
    assert page.text.count(" ".join(name.split())) == 3  # title, heading and layer
    assert f"Zero pattern of {name}" in page.pictures
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Page(html_report(named("plain").program)).tags}
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)


def test_reasons_of_users_are_escaped_too():
    net = named("w")
    page = html_report(net.program, select=lambda param: (False, "<b>no</b>"))
    assert "not selected: &lt;b&gt;no&lt;/b&gt;" in page


def test_the_pruner_is_named_with_its_step():
    net, pruner = pruned_net()
    text = Page(html_report(net.program, pruner=pruner, title="My <model>")).text
    assert text.startswith("My <model> My <model> UnstructuredPruner(") and "after 1 step; threshold" in text


def test_the_scope_is_the_pruners_if_none_is_given():
    net = Net(convnet, [2, 2, 4, 4], own_scope=True)
    pruner = UnstructuredPruner(net.program, ratio=0.5, scope=net.scope)
    pruner.step()
    assert html_report(net.program, pruner=pruner) == html_report(net.program, net.scope, pruner)


def test_weights_that_are_not_finite_are_named_and_nothing_breaks():
    net = named("w")
    net.put("w", [[np.nan, np.inf], [0, 1]])
    assert "2 weights are NaN or infinite." in Page(html_report(net.program)).text


def test_a_weight_of_zeros_only_is_drawn():
    net = Net(linear(600, 600), [1, 600])
    net.put("linear_0.w_0", np.zeros((600, 600)))
    page = Page(html_report(net.program))
    assert (page.pictures["Zero pattern of linear_0.w_0"] == ZERO).all()


def test_the_report_of_a_mobilenet_sized_net_is_small():
    net = Net(
        lambda x: paddle.nn.Conv2D(1024, 1024, 1)(paddle.nn.Conv2D(512, 1024, 1)(paddle.nn.Conv2D(512, 512, 1)(x))),
        [1, 512, 1, 1],
    )
    pruner = UnstructuredPruner(net.program, ratio=0.75)
    pruner.step()
    assert len(html_report(net.program, pruner=pruner).encode()) < 250_000  # of 1.8 M weights


def test_former_values_of_another_shape_are_refused_by_name():
    with pytest.raises(ValueError, match=r"values of 'w' in its shape \[2, 2\], got \[3\]"):
        html_report(named("w").program, before={"w": np.ones(3)})


def test_former_values_of_another_model_are_refused():
    with pytest.raises(ValueError, match=r"`before` must have values of the Program's weights.*got 1 others, 'v'"):
        html_report(named("w").program, before={"v": np.ones((2, 2))})


def test_weights_without_a_value_are_refused():
    with pytest.raises(ValueError, match="no value in the scope"):
        html_report(named("w").program, paddle.static.Scope())


def test_without_jinja_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'pip install "paddle_unstructured\[html\]"'):
        html_report(named("w").program)
