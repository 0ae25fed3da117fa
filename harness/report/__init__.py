"""The report: results of all sessions, rendered as HTML, Markdown and badges."""
