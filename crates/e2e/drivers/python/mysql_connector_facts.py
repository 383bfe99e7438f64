"""Facts seen through mysql-connector-python: variant `default` is its C extension, `pure` its Python implementation."""

# The extension carries an OpenSSL of its own that is newer than some machines'; whoever loads libcrypto first
# wins, so it has to come before Python's own ssl and hashlib.
import _mysql_connector  # noqa: F401, I001

import datetime
import decimal
import hashlib
import io
import os
import tempfile

import mysql.connector
from mysql.connector import FieldType, constants

from facts import big_value, fact, logins, statements, target

WHERE = target()
PURE = WHERE.variant == "pure"


def connect(where=WHERE, **extra):
    settings = dict(
        host=where.host, port=where.port, user=where.user, password=where.password, database=where.database,
        use_pure=PURE,
    )
    if where.tls == "off":
        settings["ssl_disabled"] = True
    elif where.tls == "verify":
        settings["ssl_ca"] = where.ca
        settings["ssl_verify_cert"] = True
    settings.update(extra)
    return mysql.connector.connect(**settings)


def error_facts(name, error):
    fact(name, type(error).__name__, error.errno, error.sqlstate, str(error.msg))


def login(name, where):
    try:
        connection = connect(where)
    except mysql.connector.Error as error:
        fact(f"login.{name}", type(error).__name__, error.errno, error.sqlstate)
        return
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    fact(f"login.{name}", cursor.fetchall())
    connection.close()


def row_facts(name, cursor):
    for column in cursor.description or ():
        fact(f"{name}.column", column[0], FieldType.get_info(column[1]), column[2:])
    for row in cursor.fetchall():
        fact(f"{name}.row", row)
    fact(f"{name}.count", cursor.rowcount)


def run(connection, kind, name, sql, prepared):
    cursor = None
    try:
        cursor = connection.cursor(prepared=prepared)
        cursor.execute(sql)
        if cursor.description:
            # some statements are refused only after their columns were sent
            row_facts(name, cursor)
        else:
            fact(name, cursor.rowcount, cursor.lastrowid, cursor.warning_count)
    except mysql.connector.Error as error:
        error_facts(name if kind == "fail" else f"{name}.unexpected", error)
    finally:
        if cursor is not None:
            cursor.close()


def parameters(connection):
    values = (
        None,
        decimal.Decimal("12345678901234567890123456789012345.123456789012345678901234567890"),
        2**64 - 1,
        -(2**63),
        1.5,
        "crab 🦀 'quoted' \"twice\" back\\slash %s ?",
        bytes(range(256)),
        datetime.datetime(2024, 2, 29, 23, 59, 59, 123456),
        datetime.date(2024, 2, 29),
        datetime.timedelta(hours=-30, microseconds=1),
        True,
    )
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS parameters")
    cursor.execute(
        "CREATE TABLE parameters (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b DECIMAL(65,30), c BIGINT UNSIGNED, d BIGINT,"
        " e DOUBLE, f VARCHAR(100) CHARACTER SET utf8mb4, g BLOB, h DATETIME(6), i DATE, j TIME(6), k BOOLEAN)"
    )
    sql = "INSERT INTO parameters (a,b,c,d,e,f,g,h,i,j,k) VALUES (" + ",".join(["%s"] * len(values)) + ")"
    cursor.execute(sql, values)
    fact("parameters.insert", cursor.rowcount, cursor.lastrowid)
    cursor.executemany(sql, [values] * 50)
    fact("parameters.many", cursor.rowcount, cursor.lastrowid)
    cursor.close()
    prepared = connection.cursor(prepared=True)
    # the C extension (26.10) binds neither an integer above the signed range nor a TIME that MySQL 9 accepts
    bindable = values if PURE else (*values[:2], str(values[2]), *values[3:9], "20:00:00", values[10])
    prepared.execute(sql, bindable)
    fact("parameters.prepared_insert", prepared.rowcount, prepared.lastrowid)
    prepared.close()
    for how in (False, True):
        cursor = connection.cursor(prepared=how)
        cursor.execute("SELECT * FROM parameters WHERE id IN (%s, %s) ORDER BY id", (1, 52))
        row_facts(f"parameters.read.{'prepared' if how else 'text'}", cursor)
        cursor.close()
    cursor = connection.cursor(dictionary=True)
    cursor.execute("SELECT id, f FROM parameters WHERE id < %(id)s", {"id": 3})
    fact("parameters.dict", [sorted(row.items()) for row in cursor.fetchall()])
    cursor.close()
    connection.commit()


def prepared_many_times(connection):
    cursor = connection.cursor(prepared=True)
    total = 0
    for i in range(1000):
        cursor.execute("SELECT ? * 2, CONCAT(?, '🦀')", (i, str(i)))
        number, text = cursor.fetchone()
        total += number + len(text)
        cursor.fetchall()
    fact("prepared.executed_1000", total)
    cursor.close()
    open_cursors = [connection.cursor(prepared=True) for _ in range(20)]
    for i, cursor in enumerate(open_cursors):
        cursor.execute(f"SELECT {i}, ?", (i,))
        cursor.fetchall()
    found = []
    for i, cursor in reversed(list(enumerate(open_cursors))):
        cursor.execute(f"SELECT {i}, ?", (i * i,))
        found.append(cursor.fetchall())
    fact("prepared.twenty_open", found)
    for cursor in open_cursors:
        cursor.close()
    cursor = connection.cursor(prepared=True)
    marks = ",".join(["?"] * 1000)
    cursor.execute(f"SELECT COUNT(*) FROM parameters WHERE id IN ({marks})", tuple(range(1000)))
    fact("prepared.thousand_parameters", cursor.fetchall())
    cursor.close()


def prepared_survives_ddl(connection):
    plain = connection.cursor()
    plain.execute("DROP TABLE IF EXISTS changing")
    plain.execute("CREATE TABLE changing (id INT PRIMARY KEY)")
    plain.execute("INSERT INTO changing VALUES (1)")
    connection.commit()
    prepared = connection.cursor(prepared=True)
    prepared.execute("SELECT * FROM changing WHERE id = ?", (1,))
    fact("prepared.before_ddl", prepared.fetchall())
    plain.execute("ALTER TABLE changing ADD COLUMN v VARCHAR(10) DEFAULT 'new'")
    try:
        prepared.execute("SELECT * FROM changing WHERE id = ?", (1,))
        fact("prepared.after_ddl", prepared.fetchall())
    except mysql.connector.Error as error:
        error_facts("prepared.after_ddl", error)
    prepared.close()
    plain.close()


def big_blob(connection):
    value = big_value()
    digest = hashlib.sha256(value).hexdigest()
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS blobs")
    cursor.execute("CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB)")
    cursor.execute("INSERT INTO blobs VALUES (1, %s)", (value,))
    fact("blob_17m.insert", cursor.rowcount)
    cursor.close()
    prepared = connection.cursor(prepared=True)
    prepared.execute("INSERT INTO blobs VALUES (?, ?)", (2, value))
    fact("blob_17m.prepared_insert", prepared.rowcount)
    if PURE:
        # a stream goes as long data
        prepared.execute("INSERT INTO blobs VALUES (?, ?)", (3, io.BytesIO(value)))
        fact("blob_17m.long_data", prepared.rowcount)
    prepared.close()
    connection.commit()
    # the pure implementation (26.10) loses its place in a binary row of more than one packet
    for how in (False,) if PURE else (False, True):
        cursor = connection.cursor(prepared=how)
        cursor.execute("SELECT id, b, LENGTH(b), SHA2(b, 256) FROM blobs ORDER BY id")
        for row, read, length, at_server in cursor.fetchall():
            same = hashlib.sha256(bytes(read)).hexdigest() == digest
            fact("blob_17m", "prepared" if how else "text", row, len(read), length, str(at_server) == digest, same)
        cursor.close()


def two_results(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT 1 AS a; SELECT 2 AS b UNION ALL SELECT 3; DO 1; SELECT 'last'")
    number = 0
    while True:
        number += 1
        fact(f"two_results.{number}", cursor.column_names, cursor.fetchall() if cursor.with_rows else None, cursor.rowcount)
        if not cursor.nextset():
            break
    try:
        cursor.execute("SELECT 1; SELECT no_such_column; SELECT 3")
        fact("two_results.before_error", cursor.fetchall())
        fact("two_results.error", cursor.nextset())
    except (mysql.connector.Error, _mysql_connector.MySQLInterfaceError) as error:
        error_facts("two_results.error", error)
    cursor.close()
    # 1064 or a list of results: the flag is asked for at login only
    plain = connect(client_flags=[-constants.ClientFlag.MULTI_STATEMENTS])
    run(plain, "fail", "two_results.not_asked", "SELECT 1; SELECT 2", prepared=False)
    plain.close()


def procedure(connection):
    cursor = connection.cursor()
    cursor.execute("DROP PROCEDURE IF EXISTS two_sets")
    cursor.execute(
        "CREATE PROCEDURE two_sets(IN a INT, OUT b INT, INOUT c INT) BEGIN"
        " SELECT a AS first; SELECT a + 1 AS second, 'x' AS text; SET b = a * 2; SET c = c + a; END"
    )
    fact("procedure.out", cursor.callproc("two_sets", (20, 0, 3)))
    for result in cursor.stored_results():
        fact("procedure.set", result.column_names, result.fetchall())
    cursor.execute("DROP PROCEDURE IF EXISTS failing")
    cursor.execute(
        "CREATE PROCEDURE failing() BEGIN SELECT 1;"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'said no', MYSQL_ERRNO = 5001; END"
    )
    try:
        fact("procedure.signal", cursor.callproc("failing"))
    except mysql.connector.Error as error:
        error_facts("procedure.signal", error)
    cursor.close()


def transactions(connection):
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS accounts")
    cursor.execute("CREATE TABLE accounts (id INT PRIMARY KEY, amount INT)")
    fact("transaction.autocommit", connection.autocommit)
    connection.autocommit = False
    connection.commit()
    connection.start_transaction(isolation_level="READ COMMITTED")
    cursor.execute("INSERT INTO accounts VALUES (1, 100)")
    fact("transaction.in", connection.in_transaction)
    connection.commit()
    fact("transaction.out", connection.in_transaction)
    connection.start_transaction(consistent_snapshot=True)
    cursor.execute("INSERT INTO accounts VALUES (2, 200)")
    cursor.execute("SELECT COUNT(*) FROM accounts")
    fact("transaction.inside", cursor.fetchall())
    connection.rollback()
    cursor.execute("SELECT * FROM accounts")
    fact("transaction.after", cursor.fetchall())
    connection.rollback()
    try:
        # not on MariaDB 10: the driver takes the greeting's "5.5.5-" for the version and refuses by itself
        connection.start_transaction(readonly=True)
        cursor.execute("INSERT INTO accounts VALUES (9, 9)")
        fact("transaction.read_only", cursor.rowcount)
    except mysql.connector.Error as error:
        error_facts("transaction.read_only", error)
    except ValueError as error:
        fact("transaction.read_only", str(error))
    connection.rollback()
    connection.autocommit = True
    cursor.execute("INSERT INTO accounts VALUES (3, 300)")
    connection.rollback()
    cursor.execute("SELECT COUNT(*) FROM accounts")
    fact("transaction.autocommitted", cursor.fetchall())
    cursor.close()


def found_rows():
    flag = constants.ClientFlag.FOUND_ROWS
    for name, flags in (("found_rows", [flag]), ("affected_rows", [-flag])):
        connection = connect(client_flags=flags, autocommit=True)
        for prepared in (False, True):
            run(connection, "run", f"{name}.{prepared}", "UPDATE accounts SET amount = amount WHERE id IN (1, 3)", prepared)
        connection.close()


def session_at_connect():
    connection = connect(
        charset="utf8mb4",
        collation="utf8mb4_unicode_ci",
        time_zone="+05:30",
        sql_mode="ANSI_QUOTES",
        autocommit=True,
        conn_attrs={"application": "weir-drivers 🦀"},
        get_warnings=True,
        buffered=True,
    )
    cursor = connection.cursor()
    cursor.execute(
        "SELECT @@time_zone, @@sql_mode, @@autocommit, @@character_set_client, @@character_set_results,"
        " @@collation_connection"
    )
    fact("connect.session", cursor.fetchall(), connection.time_zone, connection.sql_mode, connection.charset, connection.collation)
    cursor.execute('SELECT "id" FROM accounts ORDER BY "id"')
    fact("connect.ansi_quotes", cursor.fetchall())
    cursor.execute("SELECT FROM_UNIXTIME(0)")
    fact("connect.time_zone", cursor.fetchall())
    cursor.execute("SELECT 1 / 0, CAST('12x' AS SIGNED)")
    fact("connect.warnings", cursor.fetchall(), cursor.warnings)
    connection.set_charset_collation("latin1")
    cursor.execute("SELECT 'café', @@character_set_client, @@character_set_connection")
    fact("connect.set_charset", cursor.fetchall())
    connection.database = "information_schema"
    fact("select_db", connection.database)
    try:
        connection.database = "no_such_schema"
    except mysql.connector.Error as error:
        error_facts("select_db.unknown", error)
    cursor.close()
    connection.close()


def session_state(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT @mark, @@group_concat_max_len, @@autocommit, @@time_zone, DATABASE(), @@character_set_client, @@collation_connection")
    rows = cursor.fetchall()
    cursor.close()
    return rows


def reset_and_change_user():
    connection = connect()
    cursor = connection.cursor()
    cursor.execute("SET @mark = 'set before', group_concat_max_len = 77, time_zone = '+03:00'")
    cursor.execute("CREATE TEMPORARY TABLE scratch (id INT)")
    fact("reset.before", session_state(connection))
    connection.cmd_reset_connection()
    fact("reset.after_cmd", session_state(connection))
    run(connection, "fail", "reset.temporary_gone", "SELECT * FROM scratch", prepared=False)
    cursor.execute("SET @mark = 'again', group_concat_max_len = 78")
    connection.reset_session(user_variables={"mark": "from reset"}, session_variables={"time_zone": "+01:00"})
    fact("reset.after_session", session_state(connection))
    cursor.execute("INSERT INTO accounts VALUES (50, 1)")
    connection.cmd_reset_connection()
    cursor.execute("SELECT COUNT(*) FROM accounts WHERE id = 50")
    fact("reset.rolled_back", cursor.fetchall())
    cursor.execute("SET @mark = 'of the first user'")
    connection.cmd_change_user(username=WHERE.user, password=WHERE.password, database="information_schema")
    fact("change_user", session_state(connection))
    try:
        connection.cmd_change_user(username=WHERE.user, password=WHERE.password + "x", database=WHERE.database)
        fact("change_user.wrong", "no error")
    except mysql.connector.Error as error:
        fact("change_user.wrong", error.errno, error.sqlstate)
    connection.close()


def ping(connection):
    connection.ping(reconnect=False)
    fact("ping", connection.is_connected())
    other = connect()
    other.reconnect()
    fact("reconnect", other.is_connected())
    fact("statistics", sorted(other.cmd_statistics().keys()))
    other.close()
    fact("closed", other.is_connected())


def many_rows(connection):
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS many")
    cursor.execute("CREATE TABLE many (id INT PRIMARY KEY, a VARCHAR(60), b DOUBLE)")
    depth = "cte_max_recursion_depth" if WHERE.server == "mysql" else "max_recursive_iterations"
    cursor.execute(f"SET SESSION {depth} = 100000")
    cursor.execute(
        "INSERT INTO many WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
        " SELECT i, SHA2(i, 224), i / 7 FROM n"
    )
    connection.commit()
    cursor.close()
    for prepared in (False, True):
        digest, rows = hashlib.sha256(), 0
        cursor = connection.cursor(prepared=prepared)
        cursor.execute("SELECT * FROM many ORDER BY id")
        while True:
            block = cursor.fetchmany(1000)
            if not block:
                break
            for row in block:
                digest.update(repr(row).encode())
                rows += 1
        cursor.close()
        fact("big_result.streamed", prepared, rows, digest.hexdigest())


def load_data_local():
    connection = connect(allow_local_infile=True, autocommit=True)
    with tempfile.NamedTemporaryFile("w", suffix=".csv", delete=False, encoding="utf-8") as file:
        for i in range(20000):
            file.write(f"{i},crab 🦀 {i}\n")
    cursor = connection.cursor()
    try:
        cursor.execute("DROP TABLE IF EXISTS loaded")
        cursor.execute("CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(30) CHARACTER SET utf8mb4)")
        cursor.execute(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE loaded CHARACTER SET utf8mb4 FIELDS TERMINATED BY ','")
        fact("local_infile", cursor.rowcount)
        cursor.execute("SELECT COUNT(*), SUM(id), MAX(v) FROM loaded")
        fact("local_infile.read", cursor.fetchall())
    except mysql.connector.Error as error:
        error_facts("local_infile", error)
    finally:
        os.unlink(file.name)
    cursor.close()
    connection.close()


def facts():
    fact("implementation", "pure" if PURE else "c", mysql.connector.HAVE_CEXT)
    connection = connect()
    for prepared in (False, True):
        for kind, how, name, sql in statements(WHERE):
            run(connection, kind, f"{'prepared' if prepared and how == 'both' else 'text'}.{name}", sql, prepared and how == "both")
    parameters(connection)
    prepared_many_times(connection)
    prepared_survives_ddl(connection)
    big_blob(connection)
    two_results(connection)
    procedure(connection)
    transactions(connection)
    found_rows()
    session_at_connect()
    reset_and_change_user()
    ping(connection)
    many_rows(connection)
    load_data_local()
    connection.close()


if __name__ == "__main__":
    if WHERE.action == "facts":
        facts()
    else:
        for name, where in logins(WHERE):
            login(name, where)
