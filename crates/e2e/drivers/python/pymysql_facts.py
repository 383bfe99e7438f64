"""Facts seen through PyMySQL."""

import datetime
import decimal
import hashlib
import os
import tempfile
import threading
import time

import pymysql
from pymysql.constants import CLIENT
from pymysql.cursors import DictCursor, SSCursor

from facts import big_value, fact, logins, statements, target

WHERE = target()


def connect(where=WHERE, **extra):
    settings = dict(
        host=where.host, port=where.port, user=where.user, password=where.password, database=where.database
    )
    if where.tls == "off":
        settings["ssl_disabled"] = True
    elif where.tls == "required":
        settings["ssl"] = {"check_hostname": False, "verify_mode": "none"}
    elif where.tls == "verify":
        settings["ssl_ca"] = where.ca
        settings["ssl_verify_cert"] = True
    settings.update(extra)
    return pymysql.connect(**settings)


def error_facts(name, error):
    fact(name, type(error).__name__, repr(error.args), str(getattr(error, "sqlstate", None)))


def login(name, where):
    try:
        connection = connect(where)
    except pymysql.MySQLError as error:
        fact(f"login.{name}", type(error).__name__, str(error.args[0]), str(error.sqlstate))
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        fact(f"login.{name}", cursor.fetchone())
    connection.close()


def row_facts(name, cursor):
    fact(f"{name}.columns", cursor.description)
    for field in cursor._result.fields:
        fact(
            f"{name}.column",
            f"{field.db}.{field.table_name}.{field.name} of {field.org_table}.{field.org_name}"
            f" charset {field.charsetnr} length {field.length} flags {field.flags} scale {field.scale}",
        )
    for row in cursor.fetchall():
        fact(f"{name}.row", row)
    fact(f"{name}.count", cursor.rowcount)


def run(connection, kind, name, sql):
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql)
        except pymysql.MySQLError as error:
            error_facts(name if kind == "fail" else f"{name}.unexpected", error)
            return
        if cursor.description:
            row_facts(name, cursor)
        else:
            fact(name, cursor.rowcount, cursor.lastrowid, connection._result.warning_count, str(connection._result.message))


def parameters(connection):
    now = datetime.datetime(2024, 2, 29, 23, 59, 59, 123456)
    values = (
        None,
        decimal.Decimal("12345678901234567890123456789012345.123456789012345678901234567890"),
        2**64 - 1,
        -(2**63),
        1.5,
        "crab 🦀 'quoted' \"twice\" back\\slash %s ?",
        bytes(range(256)),
        now,
        now.date(),
        datetime.timedelta(hours=-30, microseconds=1),
        True,
    )
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS parameters")
        cursor.execute(
            "CREATE TABLE parameters (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b DECIMAL(65,30), c BIGINT UNSIGNED, d BIGINT,"
            " e DOUBLE, f VARCHAR(100) CHARACTER SET utf8mb4, g BLOB, h DATETIME(6), i DATE, j TIME(6), k BOOLEAN)"
        )
        sql = "INSERT INTO parameters (a,b,c,d,e,f,g,h,i,j,k) VALUES (" + ",".join(["%s"] * len(values)) + ")"
        fact("parameters.insert", cursor.execute(sql, values), cursor.lastrowid)
        fact("parameters.many", cursor.executemany(sql, [values] * 50), cursor.lastrowid, cursor.rowcount)
        cursor.execute("SELECT * FROM parameters WHERE id = %s", (1,))
        row_facts("parameters.read", cursor)
    connection.commit()
    with connection.cursor(DictCursor) as cursor:
        cursor.execute("SELECT id, f FROM parameters WHERE id < %(id)s", {"id": 3})
        fact("parameters.dict", cursor.fetchall())


def big_blob(connection):
    value = big_value()
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS blobs")
        cursor.execute("CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB)")
        fact("blob_17m.insert", cursor.execute("INSERT INTO blobs VALUES (1, _binary %s)", (value,)))
        connection.commit()
        cursor.execute("SELECT b, LENGTH(b), SHA2(b, 256) FROM blobs")
        read, length, digest = cursor.fetchone()
        fact("blob_17m", len(read), length, digest == hashlib.sha256(value).hexdigest(), read == value)
        cursor.execute("SELECT REPEAT('x', 16777215 - 1), REPEAT('y', 16777215), 'z'")
        fact("packet_edge", cursor.fetchone())


def two_results():
    connection = connect(client_flag=CLIENT.MULTI_STATEMENTS)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS a; SELECT 2 AS b UNION ALL SELECT 3; DO 1; SELECT 'last'")
        number = 0
        while True:
            number += 1
            fact(f"two_results.{number}", cursor.description, cursor.fetchall(), cursor.rowcount)
            if not cursor.nextset():
                break
        cursor.execute("SELECT 1; SELECT no_such_column; SELECT 3")
        fact("two_results.before_error", cursor.fetchall())
        try:
            fact("two_results.error", cursor.nextset())
        except pymysql.MySQLError as error:
            error_facts("two_results.error", error)
        cursor.execute("SELECT 'still usable'")
        fact("two_results.after_error", cursor.fetchall())
    connection.close()
    # a client that did not ask for multi-statements must be refused
    connection = connect(client_flag=0)
    run(connection, "fail", "two_results.not_asked", "SELECT 1; SELECT 2")
    connection.close()


def procedure(connection):
    with connection.cursor() as cursor:
        cursor.execute("DROP PROCEDURE IF EXISTS two_sets")
        cursor.execute(
            "CREATE PROCEDURE two_sets(IN a INT, OUT b INT, INOUT c INT) BEGIN"
            " SELECT a AS first; SELECT a + 1 AS second, 'x' AS text; SET b = a * 2; SET c = c + a; END"
        )
        cursor.callproc("two_sets", (20, 0, 3))
        while True:
            fact("procedure.set", cursor.description, cursor.fetchall())
            if not cursor.nextset():
                break
        cursor.execute("SELECT @_two_sets_1, @_two_sets_2")
        fact("procedure.out", cursor.fetchall())
        cursor.execute("DROP PROCEDURE IF EXISTS failing")
        cursor.execute(
            "CREATE PROCEDURE failing() BEGIN SELECT 1;"
            " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'said no 🦀', MYSQL_ERRNO = 5001; END"
        )
        try:
            cursor.callproc("failing")
            fact("procedure.before_signal", cursor.fetchall())
            fact("procedure.signal", cursor.nextset())
        except pymysql.MySQLError as error:
            error_facts("procedure.signal", error)


def transactions(connection):
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS accounts")
        cursor.execute("CREATE TABLE accounts (id INT PRIMARY KEY, amount INT)")
        connection.begin()
        cursor.execute("INSERT INTO accounts VALUES (1, 100)")
        connection.commit()
        connection.begin()
        cursor.execute("INSERT INTO accounts VALUES (2, 200)")
        cursor.execute("SELECT COUNT(*) FROM accounts")
        fact("transaction.inside", cursor.fetchall())
        connection.rollback()
        cursor.execute("SELECT * FROM accounts")
        fact("transaction.after", cursor.fetchall())
        fact("transaction.autocommit", connection.get_autocommit())
        connection.autocommit(True)
        fact("transaction.autocommit_on", connection.get_autocommit())
        cursor.execute("INSERT INTO accounts VALUES (3, 300)")
        connection.rollback()
        cursor.execute("SELECT COUNT(*) FROM accounts")
        fact("transaction.autocommitted", cursor.fetchall())
        connection.autocommit(False)


def found_rows():
    for name, flag in (("found_rows", CLIENT.FOUND_ROWS), ("affected_rows", 0)):
        # PyMySQL turns FOUND_ROWS off unless asked, so both flags are seen
        connection = connect(client_flag=flag, autocommit=True)
        with connection.cursor() as cursor:
            fact(name, cursor.execute("UPDATE accounts SET amount = amount WHERE id IN (1, 3)"))
        connection.close()


def session_at_connect():
    connection = connect(
        charset="utf8mb4",
        collation="utf8mb4_unicode_ci",
        init_command="SET time_zone = '+05:30'",
        sql_mode="ANSI_QUOTES",
        autocommit=True,
        program_name="weir-drivers",
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT @@time_zone, @@sql_mode, @@autocommit, @@character_set_client, @@character_set_results,"
            " @@collation_connection"
        )
        fact("connect.session", cursor.fetchall())
        cursor.execute('SELECT "id" FROM accounts ORDER BY "id"')
        fact("connect.ansi_quotes", cursor.fetchall())
        cursor.execute("SELECT FROM_UNIXTIME(0)")
        fact("connect.time_zone", cursor.fetchall())
    connection.set_character_set("latin1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'café', @@character_set_client, @@character_set_connection")
        fact("connect.set_charset", cursor.fetchall())
    connection.select_db("information_schema")
    with connection.cursor() as cursor:
        cursor.execute("SELECT DATABASE()")
        fact("select_db", cursor.fetchall())
    try:
        connection.select_db("no_such_schema")
    except pymysql.MySQLError as error:
        # a database that the account may not see is 1044 for a plain account
        error_facts("select_db.unknown", error)
    connection.close()


def ping_and_reconnect(connection):
    connection.ping(reconnect=False)
    fact("ping", "ok")
    other = connect()
    other.close()
    try:
        other.ping(reconnect=False)
    except pymysql.Error as error:
        fact("ping.closed", type(error).__name__)
    other.connect()
    with other.cursor() as cursor:
        cursor.execute("SELECT 'again'")
        fact("reconnected", cursor.fetchall())
    other.close()


def many_rows(connection):
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS many")
        cursor.execute("CREATE TABLE many (id INT PRIMARY KEY, a VARCHAR(60), b DOUBLE)")
        depth = "cte_max_recursion_depth" if WHERE.server == "mysql" else "max_recursive_iterations"
        cursor.execute(f"SET SESSION {depth} = 100000")
        cursor.execute(
            "INSERT INTO many WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
            " SELECT i, SHA2(i, 224), i / 7 FROM n"
        )
        connection.commit()
    digest, rows = hashlib.sha256(), 0
    with connection.cursor(SSCursor) as cursor:
        cursor.execute("SELECT * FROM many ORDER BY id")
        for row in cursor:
            digest.update(repr(row).encode())
            rows += 1
    fact("big_result.streamed", rows, digest.hexdigest())
    with connection.cursor(SSCursor) as cursor:
        cursor.execute("SELECT * FROM many ORDER BY id")
        fact("big_result.first_of_abandoned", cursor.fetchone())
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*), SUM(id) FROM many")
        fact("big_result.after_abandoned", cursor.fetchall())
        cursor.execute("SELECT * FROM many ORDER BY id")
        fact("big_result.stored", len(cursor.fetchall()))


def load_data_local():
    connection = connect(local_infile=True, autocommit=True)
    with tempfile.NamedTemporaryFile("w", suffix=".csv", delete=False, encoding="utf-8") as file:
        for i in range(20000):
            file.write(f"{i},crab 🦀 {i}\n")
    try:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS loaded")
            cursor.execute("CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(30) CHARACTER SET utf8mb4)")
            count = cursor.execute(
                f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE loaded CHARACTER SET utf8mb4 FIELDS TERMINATED BY ','"
            )
            fact("local_infile", count, str(connection._result.message))
            cursor.execute("SELECT COUNT(*), SUM(id), MAX(v) FROM loaded")
            fact("local_infile.read", cursor.fetchall())
    except pymysql.MySQLError as error:
        error_facts("local_infile", error)
    finally:
        os.unlink(file.name)
    connection.close()


def kill_query(connection):
    """A second connection stops the first one's statement by the thread id that the login told."""
    other = connect()
    thread = threading.Timer(0.5, lambda: other.query(f"KILL QUERY {connection.thread_id()}"))
    thread.start()
    began = time.monotonic()
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT SLEEP(20)")
            fact("kill_query", cursor.fetchall())
        except pymysql.MySQLError as error:
            error_facts("kill_query", error)
        thread.join()
        fact("kill_query.in_time", time.monotonic() - began < 10)
        cursor.execute("SELECT 'alive'")
        fact("kill_query.after", cursor.fetchall())
    other.close()


def facts():
    connection = connect()
    for kind, _how, name, sql in statements(WHERE):
        run(connection, kind, name, sql)
    parameters(connection)
    big_blob(connection)
    two_results()
    procedure(connection)
    transactions(connection)
    connection.commit()
    found_rows()
    session_at_connect()
    ping_and_reconnect(connection)
    many_rows(connection)
    load_data_local()
    kill_query(connection)
    connection.close()


if __name__ == "__main__":
    if WHERE.action == "facts":
        facts()
    else:
        for name, where in logins(WHERE):
            login(name, where)
