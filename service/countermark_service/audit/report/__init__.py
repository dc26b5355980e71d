"""The report for people: one HTML file that holds the document of an audit, and nothing that runs."""

from countermark_service.audit.report.page import render_report

__all__ = ["render_report"]
