# SPDX-License-Identifier: Apache-2.0
"""`report`: zeros of every param."""

from __future__ import annotations

import argparse

from .arguments import add_json, add_model, add_selection, give, selection

ABOUT = "count the zeros of every param"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    form = parser.add_mutually_exclusive_group()
    add_json(form)
    form.add_argument("--html", action="store_true", help="one self-contained page with pictures")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    add_selection(parser, "count as selected")


def run(args: argparse.Namespace) -> None:
    from ..export import open_model
    from ..export.checks import choose_params
    from ..reporting.report import sparsity_report

    model = open_model(args.model)
    if args.params:
        choose_params(model.graph.params(), args.params)
    if args.html:
        from ..reporting.html import html_report

        page = html_report(model.program, model.scope, title=args.model, select=selection(args))
        return give(page, args.output)
    found = sparsity_report(model.program, model.scope, select=selection(args))
    give(found.to_json() if args.json else str(found), args.output)
