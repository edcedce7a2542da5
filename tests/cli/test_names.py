# SPDX-License-Identifier: Apache-2.0
"""Messages name the user's files, not those that stand for them for the while."""

from __future__ import annotations

import logging

import pytest

from paddle_unstructured.cli import report
from paddle_unstructured.cli.names import in_users_names, stands_for

pytestmark = pytest.mark.usefixtures("static")


def test_warnings_and_errors_name_the_users_files(run, monkeypatch):
    def fails(args):
        made = stands_for("/tmp/paddle_unstructured_abcd1234/model", args.model)
        logging.getLogger("paddle_unstructured.runtime.predictor").warning("%s runs without oneDNN", made)
        raise ValueError(f"{made}.json cannot be opened")

    monkeypatch.setattr(report, "run", fails)
    code, out, err = run("report", "photos/net")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "warning: photos/net runs without oneDNN",
        "paddle_unstructured report: error: photos/net.json cannot be opened",
    ]
    run("report", "another")
    assert in_users_names("/tmp/paddle_unstructured_abcd1234/model") == "another"
