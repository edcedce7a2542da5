# SPDX-License-Identifier: Apache-2.0
"""What the demo prints names files as they will be called."""

from __future__ import annotations

import logging

import train


def test_a_folder_that_is_being_written_has_its_later_name(capsys):
    loggers = [logging.getLogger(name) for name in ("train", "paddle_unstructured")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    try:
        train.log_to_stdout()
        logging.getLogger("paddle_unstructured.inference").warning("%s fails", "runs/a.b/.before_nms.writing/model")
        assert capsys.readouterr().out == "runs/a.b/before_nms/model fails\n"
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
