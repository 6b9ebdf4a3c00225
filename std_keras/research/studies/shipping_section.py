"""The section of the page that says which exported file to ship."""

from __future__ import annotations

from std_keras.research.analysis.shipping import COLUMNS, Comparison
from std_keras.research.studies import figures, page
from std_keras.research.studies.output import Result


def result(found: Comparison, *, subject: str) -> Result:
    """Table, verdict, and a picture of accuracy against time where matplotlib is installed.

    Args:
        found: the comparison.
        subject: what was compared, in words.
    """
    blocks: list[page.Block] = [
        page.Text(found.verdict(), title="Verdict"),
        page.Table(COLUMNS, found.rows()),
        page.Text(found.footnote()),
    ]
    if figures.available():
        groups = {
            run: [
                (file.quantization, file.latency_ms, 100 * getattr(file, found.metric))
                for file in found.files
                if file.run == run
            ]
            for run in dict.fromkeys(file.run for file in found.files)
        }
        title = "Accuracy against time"
        accuracy = "top-1" if found.metric == "top1" else "balanced accuracy"
        drawn = figures.scatter(
            groups, title=title, x="ms on one thread", y=f"{accuracy} in percent"
        )
        caption = "Up and left is better; the colour tells the run, the marker the kind of file."
        blocks.append(page.Pictures([page.Picture("accuracy", drawn, f"{title}. {caption}")]))
    return Result(
        section=page.Section(
            name="ship", title="Which file to ship", subject=subject, blocks=blocks
        ),
        figures=found.as_dict(),
    )
