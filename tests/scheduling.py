"""Which worker runs which file of tests, also after a worker was lost."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


class FileScheduling(LoadFileScheduling):
    """``--dist loadfile`` that ends after a worker was lost.

    pytest-xdist gives the other workers all files of the lost one again: those that it has finished, which have no test
    whose end would make a worker ask for more, so that the run waits for ever; and the test that ended it, which would
    end the others too.
    """

    def remove_node(self, node: WorkerController) -> str | None:
        """Give the unfinished files of a worker that has ended to others; return the test that it ran, if any."""
        work = self.assigned_work.pop(node)
        crashed = next((test for tests in work.values() for test, is_done in tests.items() if not is_done), None)
        if crashed is None:
            return None
        work[self._split_scope(crashed)][crashed] = True
        self.workqueue.update({file: tests for file, tests in work.items() if not all(tests.values())})
        for other in self.assigned_work:
            self._reschedule(other)
        return crashed
