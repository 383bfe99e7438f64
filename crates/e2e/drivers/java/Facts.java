import java.io.ByteArrayInputStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;

/**
 * Facts seen through JDBC. The variant names the driver and how it is set: {@code connector-j} and {@code mariadb} at
 * defaults, {@code connector-j-cursor} and {@code mariadb-cursor} with server prepares and cursor fetch.
 */
public final class Facts {
    private static final String VARIANT = env("DRIVER_VARIANT", "connector-j");
    private static final boolean MARIADB_DRIVER = VARIANT.startsWith("mariadb");
    private static final boolean CURSOR = VARIANT.endsWith("-cursor");
    private static final boolean MARIADB_SERVER = env("DRIVER_SERVER", "").equals("mariadb");
    private static final String DATABASE = env("DRIVER_DATABASE", "");
    private static final StringBuilder OUT = new StringBuilder();

    private record Line(String kind, String how, String name, String sql) {}

    private interface Step {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        try {
            if (env("DRIVER_ACTION", "").equals("facts")) {
                facts();
            } else {
                logins();
            }
        } finally {
            System.out.write(OUT.toString().getBytes(StandardCharsets.UTF_8));
            System.out.flush();
        }
    }

    private static String env(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    private static Connection connect(String... extra) throws SQLException {
        return connectAs(env("DRIVER_USER", ""), env("DRIVER_PASSWORD", ""), env("DRIVER_TLS", "default"), extra);
    }

    private static Connection connectAs(String user, String password, String tls, String... extra) throws SQLException {
        Properties settings = new Properties();
        settings.setProperty("user", user);
        settings.setProperty("password", password);
        settings.setProperty("connectTimeout", "20000");
        settings.setProperty("socketTimeout", "60000");
        if (MARIADB_DRIVER) {
            switch (tls) {
                case "off" -> settings.setProperty("sslMode", "disable");
                case "required" -> settings.setProperty("sslMode", "trust");
                case "verify" -> settings.setProperty("sslMode", "verify-ca");
                default -> { }
            }
            if (tls.equals("verify")) settings.setProperty("serverSslCert", env("DRIVER_CA", ""));
            // without it the driver refuses caching_sha2_password's key exchange
            settings.setProperty("allowPublicKeyRetrieval", "true");
        } else {
            switch (tls) {
                case "off" -> settings.setProperty("sslMode", "DISABLED");
                case "required" -> settings.setProperty("sslMode", "REQUIRED");
                case "verify" -> settings.setProperty("sslMode", "VERIFY_CA");
                default -> { }
            }
            if (tls.equals("verify")) {
                settings.setProperty("trustCertificateKeyStoreUrl", "file:" + trustStore());
                settings.setProperty("trustCertificateKeyStorePassword", "changeit");
                settings.setProperty("trustCertificateKeyStoreType", "PKCS12");
            }
            settings.setProperty("allowPublicKeyRetrieval", "true");
        }
        if (CURSOR) {
            settings.setProperty("useServerPrepStmts", "true");
            settings.setProperty("defaultFetchSize", "100");
            // MariaDB's driver knows no cursors: with a fetch size it reads rows as they come
            if (!MARIADB_DRIVER) settings.setProperty("useCursorFetch", "true");
            // few enough that statements leave its cache, and are closed, while the connection lives
            if (MARIADB_DRIVER) settings.setProperty("prepStmtCacheSize", "20");
            if (MARIADB_DRIVER) settings.setProperty("useResetConnection", "true");
        }
        for (int i = 0; i < extra.length; i += 2) settings.setProperty(extra[i], extra[i + 1]);
        String scheme = MARIADB_DRIVER ? "jdbc:mariadb://" : "jdbc:mysql://";
        String address = env("DRIVER_HOST", "") + ":" + env("DRIVER_PORT", "") + "/" + DATABASE;
        return DriverManager.getConnection(scheme + address, settings);
    }

    /** Connector/J takes a key store only, so the CA's certificate is put into one. */
    private static String trustStore() throws SQLException {
        try {
            var factory = java.security.cert.CertificateFactory.getInstance("X.509");
            var store = java.security.KeyStore.getInstance("PKCS12");
            store.load(null, null);
            try (var file = Files.newInputStream(Path.of(env("DRIVER_CA", "")))) {
                store.setCertificateEntry("ca", factory.generateCertificate(file));
            }
            Path path = Files.createTempFile("weir-drivers", ".p12");
            path.toFile().deleteOnExit();
            try (var file = Files.newOutputStream(path)) {
                store.store(file, "changeit".toCharArray());
            }
            return path.toString();
        } catch (java.io.IOException | java.security.GeneralSecurityException problem) {
            throw new SQLException("cannot make a key store of the CA", problem);
        }
    }

    private static String hash(byte[] bytes) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }

    private static String shown(Object value) throws Exception {
        if (value == null) return "null";
        if (value instanceof byte[] bytes) {
            return bytes.length > 200 ? "bytes " + bytes.length + " sha256 " + hash(bytes) : "bytes " + HexFormat.of().formatHex(bytes);
        }
        String text = value instanceof Object[] array ? Arrays.toString(array) : value.toString();
        String type = value.getClass().getSimpleName();
        if (text.length() > 400) return type + " of " + text.length() + " sha256 " + hash(text.getBytes(StandardCharsets.UTF_8));
        return type + " " + text;
    }

    private static void fact(String name, Object... values) throws Exception {
        List<String> parts = new ArrayList<>();
        for (Object value : values) parts.add(shown(value));
        String line = name + " = " + String.join(" | ", parts);
        line.chars().forEach(c -> OUT.append(c < 32 ? String.format("\\x%02x", c) : String.valueOf((char) c)));
        OUT.append('\n');
    }

    private static void errorFacts(String name, SQLException error) throws Exception {
        // MariaDB's driver puts the thread id in front: "(conn=12) ..."
        String text = String.valueOf(error.getMessage()).replaceAll("^\\(conn[:=]\\d+\\) ", "");
        fact(name, error.getClass().getSimpleName(), error.getErrorCode(), error.getSQLState(), text);
    }

    /** Tries each login of DRIVER_LOGINS: lines of name, user, password and TLS, separated by tabs. */
    private static void logins() throws Exception {
        for (String line : env("DRIVER_LOGINS", "").split("\n")) {
            String[] part = line.split("\t");
            try (Connection connection = connectAs(part[1], part[2], part[3]); Statement statement = connection.createStatement()) {
                ResultSet rows = statement.executeQuery("SELECT 1");
                rows.next();
                fact("login." + part[0], rows.getInt(1));
            } catch (SQLException error) {
                fact("login." + part[0], error.getErrorCode(), error.getSQLState());
            }
        }
    }

    private static List<Line> statements() throws Exception {
        List<Line> found = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(env("DRIVER_STATEMENTS", "")))) {
            if (line.isEmpty() || line.startsWith("#")) continue;
            String[] part = line.split("\t");
            if (part[2].equals("any") || part[2].equals(env("DRIVER_SERVER", ""))) {
                found.add(new Line(part[0], part[1], part[3], part[4].replace("{database}", DATABASE)));
            }
        }
        return found;
    }

    /** A value as a fact, also where the driver has no Java value for what the column holds. */
    private static String cell(ResultSet rows, int column) throws Exception {
        try {
            return shown(rows.getObject(column)) + " / " + (rows.getString(column) == null ? "null" : shown(rows.getString(column)));
        } catch (SQLException error) {
            return error.getClass().getSimpleName() + " " + shown(rows.getBytes(column));
        }
    }

    private static void rowFacts(String name, ResultSet rows) throws Exception {
        ResultSetMetaData columns = rows.getMetaData();
        for (int i = 1; i <= columns.getColumnCount(); i++) {
            fact(name + ".column", columns.getCatalogName(i), columns.getTableName(i), columns.getColumnLabel(i), columns.getColumnName(i),
                columns.getColumnTypeName(i), columns.getColumnType(i), columns.getPrecision(i), columns.getScale(i),
                columns.isNullable(i), columns.isAutoIncrement(i), columns.isSigned(i), columns.getColumnClassName(i));
        }
        int count = 0;
        while (rows.next()) {
            List<String> cells = new ArrayList<>();
            for (int i = 1; i <= columns.getColumnCount(); i++) cells.add(cell(rows, i));
            fact(name + ".row", String.join(", ", cells));
            count++;
        }
        fact(name + ".count", count);
    }

    private static void allResults(String name, Statement statement, boolean hasRows) throws Exception {
        for (int set = 0; ; set++) {
            if (hasRows) {
                try (ResultSet rows = statement.getResultSet()) {
                    rowFacts(set == 0 ? name : name + "." + set, rows);
                }
            } else {
                long affected = statement.getLargeUpdateCount();
                if (affected == -1) break;
                fact(set == 0 ? name : name + "." + set, affected);
            }
            hasRows = statement.getMoreResults();
        }
        for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) {
            fact(name + ".warning", warning.getErrorCode(), warning.getSQLState(), warning.getMessage());
        }
    }

    private static void expecting(String kind, String name, Step step) throws Exception {
        try {
            step.run();
        } catch (SQLException error) {
            errorFacts(kind.equals("fail") ? name : name + ".unexpected", error);
        }
    }

    private static void keys(String name, Statement statement) throws Exception {
        List<String> keys = new ArrayList<>();
        try (ResultSet rows = statement.getGeneratedKeys()) {
            while (rows.next()) keys.add(rows.getString(1));
        }
        fact(name + ".keys", String.join(",", keys));
    }

    private static void run(Connection connection, String kind, String name, String sql, boolean prepared, Object... values) throws Exception {
        expecting(kind, name, () -> {
            boolean wantsKeys = sql.startsWith("INSERT") || sql.startsWith("REPLACE");
            if (prepared || values.length > 0) {
                try (PreparedStatement statement = wantsKeys
                        ? connection.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS) : connection.prepareStatement(sql)) {
                    for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
                    boolean hasRows = statement.execute();
                    if (wantsKeys) keys(name, statement);
                    allResults(name, statement, hasRows);
                }
            } else {
                try (Statement statement = connection.createStatement()) {
                    boolean hasRows = wantsKeys ? statement.execute(sql, Statement.RETURN_GENERATED_KEYS) : statement.execute(sql);
                    if (wantsKeys) keys(name, statement);
                    allResults(name, statement, hasRows);
                }
            }
        });
    }

    private static void exec(Connection connection, String... texts) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            for (String text : texts) statement.execute(text);
        }
    }

    private static void parameters(Connection connection) throws Exception {
        exec(connection, "DROP TABLE IF EXISTS parameters",
            "CREATE TABLE parameters (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b DECIMAL(65,30), c BIGINT UNSIGNED, d BIGINT,"
                + " e DOUBLE, f VARCHAR(100) CHARACTER SET utf8mb4, g BLOB, h DATETIME(6), i DATE, j TIME(6), k BOOLEAN)");
        byte[] every = new byte[256];
        for (int i = 0; i < 256; i++) every[i] = (byte) i;
        Object[] values = {
            null, new BigDecimal("12345678901234567890123456789012345.123456789012345678901234567890"),
            new BigInteger("18446744073709551615"), Long.MIN_VALUE, 1.5, "crab 🦀 'quoted' \"twice\" back\\slash %s ?", every,
            LocalDateTime.of(2024, 2, 29, 23, 59, 59, 123456000), LocalDate.of(2024, 2, 29), "-30:00:00.000001", true,
        };
        String sql = "INSERT INTO parameters (a,b,c,d,e,f,g,h,i,j,k) VALUES (?,?,?,?,?,?,?,?,?,?,?)";
        // not every driver can bind all of these to every server: Connector/J sends an unsigned 64-bit number as signed
        run(connection, "fail", "parameters.insert", sql, true, values);
        for (int i = 0; i < values.length; i++) {
            char column = (char) ('a' + i);
            run(connection, "fail", "parameters." + column, "INSERT INTO parameters (" + column + ") VALUES (?)", true, values[i]);
        }
        run(connection, "query", "parameters.text", "SELECT * FROM parameters ORDER BY id", false);
        run(connection, "query", "parameters.read", "SELECT * FROM parameters WHERE id > ? AND id < ? ORDER BY id", true, 0, 100);
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO parameters (f, d) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < 300; i++) {
                statement.setString(1, "batch " + i);
                statement.setInt(2, i);
                statement.addBatch();
            }
            fact("parameters.batch", Arrays.stream(statement.executeBatch()).boxed().toArray());
            keys("parameters.batch", statement);
        }
        try (Statement statement = connection.createStatement()) {
            statement.addBatch("UPDATE parameters SET d = 1 WHERE id = 2");
            statement.addBatch("INSERT INTO parameters (id) VALUES (1)");
            statement.addBatch("UPDATE parameters SET d = 3 WHERE id = 2");
            statement.executeBatch();
        } catch (java.sql.BatchUpdateException error) {
            fact("parameters.batch_error", Arrays.stream(error.getUpdateCounts()).boxed().toArray(), error.getErrorCode(), error.getSQLState());
        }
    }

    private static void preparedManyTimes(Connection connection) throws Exception {
        long total = 0;
        try (PreparedStatement statement = connection.prepareStatement("SELECT ? * 2, CONCAT(?, '🦀')")) {
            for (int i = 0; i < 1000; i++) {
                statement.setInt(1, i);
                statement.setString(2, String.valueOf(i));
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    total += rows.getLong(1) + rows.getString(2).length();
                }
            }
        }
        fact("prepared.executed_1000", total);
        List<PreparedStatement> open = new ArrayList<>();
        for (int i = 0; i < 20; i++) open.add(connection.prepareStatement("SELECT " + i + ", ?"));
        for (int i = 19; i >= 0; i--) {
            open.get(i).setInt(1, i * i);
            try (ResultSet rows = open.get(i).executeQuery()) {
                rows.next();
                fact("prepared.twenty_open", rows.getInt(1), rows.getInt(2));
            }
        }
        for (PreparedStatement statement : open) statement.close();
        Object[] ids = new Object[1000];
        for (int i = 0; i < ids.length; i++) ids[i] = i;
        String marks = "?,".repeat(ids.length);
        run(connection, "query", "prepared.thousand_parameters",
            "SELECT COUNT(*) FROM parameters WHERE id IN (" + marks.substring(0, marks.length() - 1) + ")", true, ids);
        exec(connection, "DROP TABLE IF EXISTS changing", "CREATE TABLE changing (id INT PRIMARY KEY)", "INSERT INTO changing VALUES (1)");
        try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM changing WHERE id = ?")) {
            statement.setInt(1, 1);
            expecting("query", "prepared.before_ddl", () -> rowFacts("prepared.before_ddl", statement.executeQuery()));
            exec(connection, "ALTER TABLE changing ADD COLUMN v VARCHAR(10) DEFAULT 'new'");
            // Connector/J with cursors fails here by itself: it counts on the columns of the first execution
            expecting("fail", "prepared.after_ddl", () -> rowFacts("prepared.after_ddl", statement.executeQuery()));
        }
    }

    /** 17 MiB that no compressor and no escape leaves alone. */
    private static byte[] bigValue() throws Exception {
        byte[] block = new byte[2048 * 32 + 256];
        for (int i = 0; i < 2048; i++) {
            System.arraycopy(MessageDigest.getInstance("SHA-256").digest(String.valueOf(i).getBytes()), 0, block, i * 32, 32);
        }
        for (int i = 0; i < 256; i++) block[2048 * 32 + i] = (byte) i;
        byte[] value = new byte[(17 * 1024 * 1024 / block.length + 1) * block.length];
        for (int at = 0; at < value.length; at += block.length) System.arraycopy(block, 0, value, at, block.length);
        return value;
    }

    private static void bigBlob(Connection connection) throws Exception {
        byte[] value = bigValue();
        String digest = hash(value);
        exec(connection, "DROP TABLE IF EXISTS blobs", "CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB)");
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO blobs VALUES (?, ?)")) {
            statement.setInt(1, 1);
            statement.setBytes(2, value);
            fact("blob_17m.insert", statement.executeUpdate());
            statement.setInt(1, 2);
            // as a stream the value goes as long data with server prepares
            statement.setBinaryStream(2, new ByteArrayInputStream(value), value.length);
            fact("blob_17m.stream", statement.executeUpdate());
        }
        for (boolean prepared : new boolean[] {false, true}) {
            String sql = "SELECT id, b, LENGTH(b), SHA2(b, 256) FROM blobs ORDER BY id";
            try (PreparedStatement one = connection.prepareStatement(sql); Statement other = connection.createStatement();
                    ResultSet rows = prepared ? one.executeQuery() : other.executeQuery(sql)) {
                while (rows.next()) {
                    byte[] read = rows.getBytes(2);
                    fact("blob_17m", prepared, rows.getInt(1), read.length, rows.getInt(3), rows.getString(4).equals(digest), Arrays.equals(read, value));
                }
            }
        }
    }

    private static void twoResults() throws Exception {
        try (Connection connection = connect("allowMultiQueries", "true")) {
            run(connection, "query", "two_results", "SELECT 1 AS a; SELECT 2 AS b UNION ALL SELECT 3; DO 1; SELECT 'last'", false);
            run(connection, "fail", "two_results.error", "SELECT 1; SELECT no_such_column; SELECT 3", false);
            run(connection, "query", "two_results.after_error", "SELECT 'still usable'", false);
        }
        try (Connection connection = connect()) {
            run(connection, "fail", "two_results.not_asked", "SELECT 1; SELECT 2", false);
        }
    }

    private static void procedure(Connection connection) throws Exception {
        exec(connection, "DROP PROCEDURE IF EXISTS two_sets",
            "CREATE PROCEDURE two_sets(IN a INT, OUT b INT, INOUT c INT) BEGIN"
                + " SELECT a AS first; SELECT a + 1 AS second, 'x' AS text; SET b = a * 2; SET c = c + a; END",
            "DROP PROCEDURE IF EXISTS failing",
            "CREATE PROCEDURE failing() BEGIN SELECT 1;"
                + " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'said no', MYSQL_ERRNO = 5001; END");
        expecting("query", "procedure", () -> {
            try (CallableStatement call = connection.prepareCall("{call two_sets(?, ?, ?)}")) {
                call.setInt(1, 20);
                call.registerOutParameter(2, Types.INTEGER);
                call.setInt(3, 3);
                call.registerOutParameter(3, Types.INTEGER);
                boolean hasRows = call.execute();
                for (int set = 0; hasRows; set++) {
                    rowFacts("procedure." + set, call.getResultSet());
                    hasRows = call.getMoreResults();
                }
                fact("procedure.out", call.getInt(2), call.getInt(3));
            }
        });
        run(connection, "fail", "procedure.signal", "CALL failing()", false);
        run(connection, "query", "procedure.after_signal", "SELECT 'usable'", false);
    }

    private static void transactions(Connection connection) throws Exception {
        exec(connection, "DROP TABLE IF EXISTS accounts", "CREATE TABLE accounts (id INT PRIMARY KEY, amount INT)");
        fact("transaction.defaults", connection.getAutoCommit(), connection.getTransactionIsolation(), connection.isReadOnly());
        connection.setAutoCommit(false);
        run(connection, "run", "transaction.insert", "INSERT INTO accounts VALUES (?, ?)", true, 1, 100);
        connection.commit();
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        run(connection, "run", "transaction.second", "INSERT INTO accounts VALUES (?, ?)", true, 2, 200);
        Savepoint here = connection.setSavepoint("here");
        run(connection, "run", "transaction.third", "INSERT INTO accounts VALUES (?, ?)", true, 3, 300);
        connection.rollback(here);
        run(connection, "query", "transaction.inside", "SELECT COUNT(*) FROM accounts", true);
        connection.rollback();
        run(connection, "query", "transaction.after", "SELECT * FROM accounts", true);
        connection.rollback();
        connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        connection.setReadOnly(true);
        fact("transaction.is_read_only", connection.isReadOnly());
        run(connection, "fail", "transaction.read_only", "INSERT INTO accounts VALUES (9, 9)", true);
        connection.rollback();
        connection.setReadOnly(false);
        connection.setAutoCommit(true);
    }

    private static void foundRows() throws Exception {
        for (String affected : List.of("false", "true")) {
            try (Connection connection = connect("useAffectedRows", affected)) {
                run(connection, "run", "found_rows." + affected, "UPDATE accounts SET amount = amount WHERE id = 1", false);
                run(connection, "run", "found_rows.prepared." + affected, "UPDATE accounts SET amount = amount WHERE id = ?", true, 1);
            }
        }
    }

    private static void sessionAtConnect() throws Exception {
        String state = "SELECT @@time_zone, @@sql_mode, @@autocommit, @@character_set_client, @@character_set_results, @@collation_connection";
        String zone = MARIADB_DRIVER ? "+05:30" : "GMT+05:30";
        String[] settings = MARIADB_DRIVER
            ? new String[] {"connectionTimeZone", zone, "forceConnectionTimeZoneToSession", "true",
                "sessionVariables", "sql_mode='ANSI_QUOTES'", "connectionAttributes", "application:weir-drivers,crab:🦀",
                "connectionCollation", "utf8mb4_unicode_ci"}
            : new String[] {"connectionTimeZone", zone, "forceConnectionTimeZoneToSession", "true",
                "sessionVariables", "sql_mode='ANSI_QUOTES'", "connectionAttributes", "application:weir-drivers,crab:🦀",
                "connectionCollation", "utf8mb4_unicode_ci", "characterEncoding", "UTF-8"};
        try (Connection connection = connect(settings)) {
            run(connection, "query", "connect.session", state, false);
            run(connection, "query", "connect.ansi_quotes", "SELECT \"id\" FROM accounts", false);
            run(connection, "query", "connect.time_zone", "SELECT FROM_UNIXTIME(0)", true);
            connection.setCatalog("information_schema");
            fact("select_db", connection.getCatalog());
            run(connection, "query", "select_db.seen", "SELECT DATABASE()", false);
            expecting("fail", "select_db.unknown", () -> connection.setCatalog("no_such_schema"));
        }
        try (Connection connection = connect()) {
            run(connection, "query", "connect.default_session", state, false);
            DatabaseMetaData about = connection.getMetaData();
            fact("metadata", about.getDatabaseProductName(), about.getDatabaseProductVersion(), about.getDatabaseMajorVersion(), about.getMaxColumnNameLength());
            try (ResultSet rows = about.getColumns(DATABASE, null, "accounts", "%")) {
                while (rows.next()) fact("metadata.column", rows.getString("COLUMN_NAME"), rows.getString("TYPE_NAME"), rows.getInt("COLUMN_SIZE"));
            }
            try (ResultSet rows = about.getPrimaryKeys(DATABASE, null, "accounts")) {
                while (rows.next()) fact("metadata.key", rows.getString("COLUMN_NAME"), rows.getString("PK_NAME"));
            }
            try (ResultSet rows = about.getTables(DATABASE, null, "accounts", null)) {
                while (rows.next()) fact("metadata.table", rows.getString("TABLE_NAME"), rows.getString("TABLE_TYPE"));
            }
        }
    }

    private static void resetAndPing(Connection connection) throws Exception {
        fact("ping", connection.isValid(5));
        try (Connection other = connect()) {
            exec(other, "SET @mark = 'set before', group_concat_max_len = 77");
            if (!MARIADB_DRIVER) {
                var jdbc = other.unwrap(com.mysql.cj.jdbc.JdbcConnection.class);
                jdbc.resetServerState();
                run(other, "query", "reset", "SELECT @mark, @@group_concat_max_len, DATABASE(), @@character_set_client", false);
                jdbc.changeUser(env("DRIVER_USER", ""), env("DRIVER_PASSWORD", ""));
                run(other, "query", "change_user", "SELECT @mark, @@group_concat_max_len, DATABASE(), @@character_set_client", false);
                expecting("fail", "change_user.wrong", () -> jdbc.changeUser(env("DRIVER_USER", ""), env("DRIVER_PASSWORD", "") + "x"));
            } else {
                var jdbc = other.unwrap(org.mariadb.jdbc.Connection.class);
                jdbc.reset();
                run(other, "query", "reset", "SELECT @mark, @@group_concat_max_len, DATABASE(), @@character_set_client", false);
            }
        }
    }

    private static void cancels(Connection connection) throws Exception {
        long began = System.nanoTime();
        expecting("fail", "query_timeout", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                try (ResultSet rows = statement.executeQuery("SELECT SLEEP(20)")) {
                    rows.next();
                    fact("query_timeout", rows.getInt(1));
                }
            }
        });
        fact("query_timeout.in_time", System.nanoTime() - began < 10_000_000_000L);
        run(connection, "query", "query_timeout.after", "SELECT 'usable'", false);
    }

    private static void manyRows(Connection connection) throws Exception {
        exec(connection, "DROP TABLE IF EXISTS many", "CREATE TABLE many (id INT PRIMARY KEY, a VARCHAR(60), b DOUBLE)",
            "SET SESSION " + (MARIADB_SERVER ? "max_recursive_iterations" : "cte_max_recursion_depth") + " = 100000",
            "INSERT INTO many WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"
                + " SELECT i, SHA2(i, 224), i / 7 FROM n");
        for (boolean prepared : new boolean[] {false, true}) {
            String sql = "SELECT * FROM many WHERE id > 0 ORDER BY id";
            try (PreparedStatement one = connection.prepareStatement(sql); Statement other = connection.createStatement()) {
                // Integer.MIN_VALUE is how Connector/J is told to stream; MariaDB's driver streams by any fetch size
                int size = CURSOR ? 1000 : MARIADB_DRIVER ? 500 : Integer.MIN_VALUE;
                one.setFetchSize(size);
                other.setFetchSize(size);
                MessageDigest digest = MessageDigest.getInstance("SHA-256");
                int count = 0;
                try (ResultSet rows = prepared ? one.executeQuery() : other.executeQuery(sql)) {
                    while (rows.next()) {
                        digest.update((rows.getInt(1) + rows.getString(2) + rows.getDouble(3)).getBytes(StandardCharsets.UTF_8));
                        count++;
                    }
                }
                fact("big_result", prepared, count, HexFormat.of().formatHex(digest.digest()));
                // a result left in the middle
                try (ResultSet rows = prepared ? one.executeQuery() : other.executeQuery(sql)) {
                    rows.next();
                    fact("big_result.first", rows.getInt(1));
                }
                run(connection, "query", "big_result.after_abandoned", "SELECT COUNT(*), SUM(id) FROM many", prepared);
            }
        }
        if (!CURSOR) return;
        // two cursors at once on one connection, and a statement in between
        try (PreparedStatement one = connection.prepareStatement("SELECT id FROM many WHERE id <= 500 ORDER BY id");
                PreparedStatement other = connection.prepareStatement("SELECT id FROM many WHERE id > ? ORDER BY id DESC")) {
            one.setFetchSize(10);
            other.setFetchSize(10);
            other.setInt(1, 49000);
            long total = 0;
            try (ResultSet up = one.executeQuery(); ResultSet down = other.executeQuery()) {
                while (up.next() && down.next()) {
                    total += (long) up.getInt(1) * down.getInt(1);
                    if (up.getInt(1) == 250) run(connection, "query", "cursor.between", "SELECT COUNT(*) FROM many", false);
                }
            }
            fact("cursor.two_at_once", total);
        }
        connection.setAutoCommit(false);
        try (PreparedStatement reading = connection.prepareStatement("SELECT id FROM many WHERE id <= 300 ORDER BY id")) {
            reading.setFetchSize(100);
            int seen = 0;
            try (ResultSet rows = reading.executeQuery()) {
                while (rows.next() && seen++ < 150) {
                    if (seen == 10) run(connection, "run", "cursor.write_meanwhile", "UPDATE accounts SET amount = amount + 1 WHERE id = ?", true, 1);
                }
            }
            fact("cursor.in_transaction", seen);
        }
        connection.rollback();
        connection.setAutoCommit(true);
        run(connection, "query", "cursor.rolled_back", "SELECT * FROM accounts", true);
    }

    private static void loadDataLocal() throws Exception {
        Path file = Files.createTempFile("weir-drivers", ".csv");
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 20000; i++) lines.append(i).append(",crab 🦀 ").append(i).append('\n');
        Files.writeString(file, lines);
        try (Connection connection = connect("allowLoadLocalInfile", "true", "allowLocalInfile", "true")) {
            exec(connection, "DROP TABLE IF EXISTS loaded", "CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(30) CHARACTER SET utf8mb4)");
            run(connection, "run", "local_infile", "LOAD DATA LOCAL INFILE '" + file + "' INTO TABLE loaded CHARACTER SET utf8mb4 FIELDS TERMINATED BY ','", false);
            run(connection, "query", "local_infile.read", "SELECT COUNT(*), SUM(id), MAX(v) FROM loaded", false);
        } finally {
            Files.delete(file);
        }
    }

    private static void facts() throws Exception {
        try (Connection connection = connect()) {
            for (boolean prepared : new boolean[] {false, true}) {
                for (Line line : statements()) {
                    // Connector/J (26.10) at times loses its place when a cursor's EXECUTE fails after its columns came
                    if (line.name.equals("subquery_rows") && CURSOR && !MARIADB_DRIVER) continue;
                    boolean so = prepared && line.how.equals("both");
                    run(connection, line.kind, (prepared ? "prepared." : "text.") + line.name, line.sql, so);
                }
            }
            parameters(connection);
            preparedManyTimes(connection);
            bigBlob(connection);
            transactions(connection);
            twoResults();
            procedure(connection);
            foundRows();
            sessionAtConnect();
            resetAndPing(connection);
            cancels(connection);
            manyRows(connection);
            loadDataLocal();
        }
    }
}
