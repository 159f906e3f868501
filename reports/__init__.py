"""Reports: what a run came to, for people (text, Markdown) and for machines (JSON, JUnit).

All of them lay out the same view (``view.py``) of run documents and histories, and read nothing else.
"""
