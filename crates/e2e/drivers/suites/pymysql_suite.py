"""Runs PyMySQL's own tests: pymysql_suite.py DRIVER TESTS PORT USER PASSWORD DATABASE MODULE...

DRIVER holds the driver as it is installed today, TESTS the last release that came with its tests. The tests are not
changed; what they name and the driver has no more is taken from that release, and they get the configuration file that
they look for. Two databases are used: DATABASE with a 1 and with a 2 behind it.
"""

import json
import os
import shutil
import sys
import tempfile
import unittest

driver, tests, port, user, password, database, *modules = sys.argv[1:]
sys.path.insert(1, os.path.dirname(os.path.abspath(__file__)))
from outcomes import Outcomes

with tempfile.TemporaryDirectory() as folder:
    package = os.path.join(folder, "pymysql")
    shutil.copytree(os.path.join(driver, "pymysql"), package)
    shutil.copytree(os.path.join(tests, "pymysql", "tests"), os.path.join(package, "tests"))
    for module in ["_compat.py", "util.py"]:
        shutil.copy(os.path.join(tests, "pymysql", module), package)
    common = {"host": "127.0.0.1", "port": int(port), "user": user, "password": password}
    with open(os.path.join(package, "tests", "databases.json"), "w") as file:
        first = dict(common, database=database + "1", use_unicode=True, local_infile=True)
        json.dump([first, dict(common, database=database + "2")], file)
    sys.modules["unittest2"] = unittest
    sys.path[:0] = [folder, driver]
    names = ["pymysql.tests." + module for module in modules]
    suite = unittest.defaultTestLoader.loadTestsFromNames(names or ["pymysql.tests"])
    unittest.TextTestRunner(resultclass=Outcomes, warnings="ignore").run(suite)
