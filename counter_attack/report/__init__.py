"""The report of a campaign: one HTML page with summary, tables, charts, cases, examples and provenance.

    >>> from counter_attack.report import write_report
    >>> write_report("campaign.sqlite", "report")        # doctest: +SKIP
    PosixPath('report/index.html')

The page needs no network: its data, its pictures and the charting library (Plotly, MIT licence) are part of it.
"""

from counter_attack.report._write import GALLERY, PAGE, write_report

__all__ = ["GALLERY", "PAGE", "write_report"]
