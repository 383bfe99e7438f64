"""A test result that prints a line per test: its name and what it came to."""

import unittest


class Outcomes(unittest.TextTestResult):
    def _tell(self, test, outcome):
        print("outcome", test.id(), outcome, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._tell(test, "ok")

    def addError(self, test, err):
        super().addError(test, err)
        self._tell(test, "error " + err[0].__name__)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._tell(test, "failure")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._tell(test, "skipped")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._tell(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._tell(test, "unexpected success")
