"""Settings for Django's own tests against a server on 127.0.0.1: SUITE_PORT, SUITE_USER, SUITE_PASSWORD,
SUITE_DATABASE."""

import os

import pymysql
from django.test.runner import DiscoverRunner

from outcomes import Outcomes

pymysql.install_as_MySQLdb()


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Outcomes


def database(number):
    name = os.environ["SUITE_DATABASE"] + number
    return {
        "ENGINE": "django.db.backends.mysql",
        "HOST": "127.0.0.1",
        "PORT": int(os.environ["SUITE_PORT"]),
        "USER": os.environ["SUITE_USER"],
        "PASSWORD": os.environ["SUITE_PASSWORD"],
        "NAME": name,
        "TEST": {"CHARSET": "utf8mb4", "NAME": name + "_test"},
    }


DATABASES = {"default": database("1"), "other": database("2")}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECRET_KEY = "of a test"
TEST_RUNNER = "django_settings.Runner"
USE_TZ = False
