"""The precision-recall curve of an evaluation as a picture, SVG or PNG.

A light sheet of its own, so that it reads on light and on dark pages; colours that colour-blind
readers tell apart (Okabe and Ito), and a line style each besides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from serve_apps.fraud_training import CutOff, Evaluation

SUFFIXES = (".svg", ".png")
POINTS_MAX = 400  # per curve; more than a picture shows

_INK = "#24292f"
_FAINT = "#d0d7de"
_SHEET = "#ffffff"
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072b2", "linestyle": "-", "linewidth": 2.2},
    {"color": "#d55e00", "linestyle": "--", "linewidth": 1.8},
    {"color": "#6b4a94", "linestyle": ":", "linewidth": 2.2},
    {"color": "#4d4d4d", "linestyle": "-.", "linewidth": 1.4},
)
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: small, and read aloud
    "svg.hashsalt": "doorbuster",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def draw_curves(evaluation: Evaluation, path: Path, *, note: str) -> None:
    """Draw precision over recall for each ranking, and where the policy acts. `note` stands below.

    ValueError for a suffix that is not of SUFFIXES; OSError if it cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} is no picture's name; it must end in {' or '.join(SUFFIXES)}")
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(8.0, 5.4), facecolor=_SHEET, layout="constrained")
        axes = figure.add_subplot(facecolor=_SHEET)
        _draw(axes, evaluation)
        figure.supxlabel(note, fontsize=9, color=_INK)
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, metadata=metadata, dpi=150, facecolor=_SHEET)


def _draw(axes: Axes, evaluation: Evaluation) -> None:
    for ranking, style in zip(evaluation.rankings, _STYLES, strict=True):
        precision, recall, _ = precision_recall_curve(evaluation.fraud, ranking.values)
        shown = _thinned(len(recall))
        axes.plot(
            recall[shown],
            precision[shown],
            label=f"{ranking.name} (average precision {ranking.average_precision:.2f})",
            **style,
        )
    share = float(evaluation.fraud.mean())
    axes.axhline(share, color=_INK, linewidth=0.8)
    axes.annotate(
        f"by chance: {share:.1%}", (0.0, share), xytext=(4, 4), textcoords="offset points"
    )
    _mark(axes, evaluation.review, "review", "o")
    _mark(axes, evaluation.decline, "decline", "s")
    axes.set(
        xlabel="recall: share of all fraud that is stopped",
        ylabel="precision: share of fraud among what is stopped",
        title="Fraud found in orders the model had not seen",
        xlim=(0.0, 1.0),
        ylim=(0.0, 1.03),
    )
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", frameon=True, facecolor=_SHEET, edgecolor=_FAINT, fontsize=10)


def _mark(axes: Axes, cut_off: CutOff, action: str, marker: str) -> None:
    if cut_off.precision is None:
        return
    axes.plot(
        [cut_off.recall],
        [cut_off.precision],
        marker=marker,
        markersize=8,
        color=_STYLES[0]["color"],
        markeredgecolor=_SHEET,
        linestyle="none",
    )
    axes.annotate(
        f"{action} from {cut_off.risk_score:g}",
        (cut_off.recall, cut_off.precision),
        xytext=(-9, -6),
        textcoords="offset points",
        horizontalalignment="right",
        verticalalignment="top",
        bbox={"facecolor": _SHEET, "edgecolor": "none", "pad": 1.5},
    )


def _thinned(count: int) -> list[int]:
    """At most POINTS_MAX places of a curve, closer together where it moves: at low recall."""
    if count <= POINTS_MAX:
        return list(range(count))
    back = np.unique(np.geomspace(1, count, POINTS_MAX).astype(int))
    return sorted({count - int(step) for step in back})
