"""The judges: every interface of ``stream`` ships the tests that an implementation of it has to pass.

``Harness`` treats an element as a black box (push, pull, injectable clock); ``check_element`` says whether an element
keeps its contract; ``check_transport`` says it of a link. Nothing here is imported when a line runs.
"""
