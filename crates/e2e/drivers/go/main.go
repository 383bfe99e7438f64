// Facts seen through go-sql-driver/mysql: variant `default` prepares every statement that has arguments,
// `interpolate` writes the arguments into the text itself.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

var ctx = context.Background()

type statement struct{ kind, how, name, text string }

func config(change func(*mysql.Config)) *mysql.Config {
	c := mysql.NewConfig()
	c.Net = "tcp"
	c.Addr = os.Getenv("DRIVER_HOST") + ":" + os.Getenv("DRIVER_PORT")
	c.User = os.Getenv("DRIVER_USER")
	c.Passwd = os.Getenv("DRIVER_PASSWORD")
	c.DBName = os.Getenv("DRIVER_DATABASE")
	c.InterpolateParams = os.Getenv("DRIVER_VARIANT") == "interpolate"
	switch os.Getenv("DRIVER_TLS") {
	case "required":
		c.TLSConfig = "skip-verify"
	case "verify":
		pem, err := os.ReadFile(os.Getenv("DRIVER_CA"))
		must(err)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		// the authority only: the certificate that MySQL makes for itself has no name that Go accepts
		chain := func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		}
		must(mysql.RegisterTLSConfig("ours", &tls.Config{InsecureSkipVerify: true, VerifyConnection: chain}))
		c.TLSConfig = "ours"
	}
	if change != nil {
		change(c)
	}
	return c
}

func open(change func(*mysql.Config)) *sql.DB {
	connector, err := mysql.NewConnector(config(change))
	must(err)
	return sql.OpenDB(connector)
}

// one gives a single connection, so that what is set stays set.
func one(db *sql.DB) *sql.Conn {
	conn, err := db.Conn(ctx)
	must(err)
	return conn
}

func must(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}

func fact(name string, values ...any) {
	shownValues := make([]string, len(values))
	for i, v := range values {
		shownValues[i] = shown(v)
	}
	line := name + " = " + strings.Join(shownValues, " | ")
	fmt.Println(strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(line))
}

func shown(value any) string {
	switch v := value.(type) {
	case []byte:
		if len(v) > 200 {
			return fmt.Sprintf("bytes %d sha256 %s", len(v), hash(v))
		}
		return fmt.Sprintf("bytes %q", v)
	case []any:
		parts := make([]string, len(v))
		for i, inner := range v {
			parts[i] = shown(inner)
		}
		return "(" + strings.Join(parts, ", ") + ")"
	case nil:
		return "nil"
	default:
		return fmt.Sprintf("%T %v", value, value)
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func errorFacts(name string, err error) {
	var told *mysql.MySQLError
	if errors.As(err, &told) {
		fact(name, told.Number, string(told.SQLState[:]), told.Message)
		return
	}
	fact(name, err.Error())
}

func statements() []statement {
	text, err := os.ReadFile(os.Getenv("DRIVER_STATEMENTS"))
	must(err)
	var found []statement
	for line := range strings.SplitSeq(string(text), "\n") {
		part := strings.Split(line, "\t")
		if strings.HasPrefix(line, "#") || len(part) != 5 {
			continue
		}
		if part[2] == "any" || part[2] == os.Getenv("DRIVER_SERVER") {
			text := strings.ReplaceAll(part[4], "{database}", os.Getenv("DRIVER_DATABASE"))
			found = append(found, statement{part[0], part[1], part[3], text})
		}
	}
	return found
}

type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	PrepareContext(context.Context, string) (*sql.Stmt, error)
}

func rowFacts(name string, rows *sql.Rows) error {
	defer rows.Close()
	for set := 1; ; set++ {
		types, err := rows.ColumnTypes()
		if err != nil {
			return err
		}
		for _, t := range types {
			nullable, known := t.Nullable()
			precision, scale, sized := t.DecimalSize()
			fact(name+".column", t.Name(), t.DatabaseTypeName(), t.ScanType().String(), nullable, known, precision, scale, sized)
		}
		count := 0
		for rows.Next() {
			values := make([]any, len(types))
			targets := make([]any, len(types))
			for i := range values {
				targets[i] = &values[i]
			}
			if err := rows.Scan(targets...); err != nil {
				return err
			}
			fact(name+".row", values)
			count++
		}
		if err := rows.Err(); err != nil {
			return err
		}
		fact(name+".count", set, count)
		if !rows.NextResultSet() {
			return rows.Err()
		}
	}
}

func resultFacts(name string, result sql.Result) {
	id, err := result.LastInsertId()
	must(err)
	affected, err := result.RowsAffected()
	must(err)
	fact(name, affected, uint64(id))
}

func run(c querier, kind, name, text string, prepared bool, args ...any) {
	err := func() error {
		// `query` kinds and refused SELECTs have rows, everything else has a result
		asksRows := kind == "query" || (kind == "fail" && strings.HasPrefix(text, "SEL"))
		if !prepared {
			if asksRows {
				rows, err := c.QueryContext(ctx, text, args...)
				if err != nil {
					return err
				}
				return rowFacts(name, rows)
			}
			result, err := c.ExecContext(ctx, text, args...)
			if err == nil {
				resultFacts(name, result)
			}
			return err
		}
		stmt, err := c.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		defer stmt.Close()
		if asksRows {
			rows, err := stmt.QueryContext(ctx, args...)
			if err != nil {
				return err
			}
			return rowFacts(name, rows)
		}
		result, err := stmt.ExecContext(ctx, args...)
		if err == nil {
			resultFacts(name, result)
		}
		return err
	}()
	if err != nil {
		if kind != "fail" {
			name += ".unexpected"
		}
		errorFacts(name, err)
	}
}

func exec(c querier, text string, args ...any) {
	_, err := c.ExecContext(ctx, text, args...)
	must(err)
}

// logins tries each login of DRIVER_LOGINS: lines of name, user, password and TLS, separated by tabs.
func logins() {
	for line := range strings.SplitSeq(os.Getenv("DRIVER_LOGINS"), "\n") {
		part := strings.Split(line, "\t")
		if len(part) == 4 {
			must(os.Setenv("DRIVER_TLS", part[3]))
			login("login."+part[0], part[1], part[2])
		}
	}
}

func login(name, user, password string) {
	db := open(func(c *mysql.Config) { c.User, c.Passwd = user, password })
	defer db.Close()
	var one int
	err := db.QueryRowContext(ctx, "SELECT 1").Scan(&one)
	var told *mysql.MySQLError
	switch {
	case errors.As(err, &told):
		fact(name, told.Number, string(told.SQLState[:]))
	case err != nil:
		fact(name, err.Error())
	default:
		fact(name, one)
	}
}

func parameters(c querier) {
	exec(c, "DROP TABLE IF EXISTS parameters")
	exec(c, "CREATE TABLE parameters (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b DECIMAL(65,30), c BIGINT UNSIGNED, d BIGINT,"+
		" e DOUBLE, f VARCHAR(100) CHARACTER SET utf8mb4, g BLOB, h DATETIME(6), i DATE, j TIME(6), k BOOLEAN)")
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	values := []any{
		nil, "12345678901234567890123456789012345.123456789012345678901234567890", uint64(math.MaxUint64),
		int64(math.MinInt64), 1.5, "crab 🦀 'quoted' \"twice\" back\\slash %s ?", every,
		time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC), "2024-02-29", "-30:00:00.000001", true,
	}
	text := "INSERT INTO parameters (a,b,c,d,e,f,g,h,i,j,k) VALUES (?,?,?,?,?,?,?,?,?,?,?)"
	run(c, "run", "parameters.insert", text, false, values...)
	run(c, "run", "parameters.prepared_insert", text, true, values...)
	run(c, "query", "parameters.text", "SELECT * FROM parameters ORDER BY id", false)
	run(c, "query", "parameters.arguments", "SELECT * FROM parameters WHERE id IN (?, ?) ORDER BY id", false, 1, 2)
	run(c, "query", "parameters.prepared", "SELECT * FROM parameters WHERE id IN (?, ?) ORDER BY id", true, 1, 2)
}

func preparedManyTimes(c querier) {
	stmt, err := c.PrepareContext(ctx, "SELECT ? * 2, CONCAT(?, '🦀')")
	must(err)
	total := 0
	for i := range 1000 {
		var number int
		var text string
		must(stmt.QueryRowContext(ctx, i, strconv.Itoa(i)).Scan(&number, &text))
		total += number + len(text)
	}
	fact("prepared.executed_1000", total)
	must(stmt.Close())
	var many []*sql.Stmt
	for i := range 20 {
		stmt, err := c.PrepareContext(ctx, fmt.Sprintf("SELECT %d, ?", i))
		must(err)
		many = append(many, stmt)
	}
	for i := range many {
		var a, b int
		must(many[len(many)-1-i].QueryRowContext(ctx, i*i).Scan(&a, &b))
		fact("prepared.twenty_open", a, b)
	}
	for _, stmt := range many {
		must(stmt.Close())
	}
	ids := make([]any, 1000)
	for i := range ids {
		ids[i] = i
	}
	marks := strings.TrimSuffix(strings.Repeat("?,", len(ids)), ",")
	run(c, "query", "prepared.thousand_parameters", "SELECT COUNT(*) FROM parameters WHERE id IN ("+marks+")", true, ids...)
	exec(c, "DROP TABLE IF EXISTS changing")
	exec(c, "CREATE TABLE changing (id INT PRIMARY KEY)")
	exec(c, "INSERT INTO changing VALUES (1)")
	stmt, err = c.PrepareContext(ctx, "SELECT * FROM changing WHERE id = ?")
	must(err)
	defer stmt.Close()
	for _, name := range []string{"prepared.before_ddl", "prepared.after_ddl"} {
		rows, err := stmt.QueryContext(ctx, 1)
		if err == nil {
			err = rowFacts(name, rows)
		}
		if err != nil {
			errorFacts(name, err)
		}
		if name == "prepared.before_ddl" {
			exec(c, "ALTER TABLE changing ADD COLUMN v VARCHAR(10) DEFAULT 'new'")
		}
	}
}

// bigValue is 17 MiB that no compressor and no escape leaves alone.
func bigValue() []byte {
	var block []byte
	for i := range 2048 {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		block = append(block, sum[:]...)
	}
	for i := range 256 {
		block = append(block, byte(i))
	}
	var value []byte
	for len(value) < 17<<20 {
		value = append(value, block...)
	}
	return value
}

func bigBlob(c querier) {
	value := bigValue()
	exec(c, "DROP TABLE IF EXISTS blobs")
	exec(c, "CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB)")
	run(c, "run", "blob_17m.insert", "INSERT INTO blobs VALUES (?, ?)", false, 1, value)
	// with room for it the driver sends one EXECUTE of two packets, else SEND_LONG_DATA
	run(c, "run", "blob_17m.prepared_insert", "INSERT INTO blobs VALUES (?, ?)", true, 2, value)
	for _, prepared := range []bool{false, true} {
		text := "SELECT b, LENGTH(b), SHA2(b, 256) FROM blobs WHERE id = 2"
		var row *sql.Row
		if prepared {
			stmt, err := c.PrepareContext(ctx, text)
			must(err)
			row = stmt.QueryRowContext(ctx)
			defer stmt.Close()
		} else {
			row = c.(interface {
				QueryRowContext(context.Context, string, ...any) *sql.Row
			}).QueryRowContext(ctx, text)
		}
		var read []byte
		var length int
		var digest string
		must(row.Scan(&read, &length, &digest))
		fact("blob_17m", prepared, len(read), length, digest == hash(value), hash(read) == hash(value))
	}
}

func twoResults() {
	db := open(func(c *mysql.Config) { c.MultiStatements = true })
	defer db.Close()
	c := one(db)
	run(c, "query", "two_results", "SELECT 1 AS a; SELECT 2 AS b UNION ALL SELECT 3; SELECT 'last'", false)
	run(c, "fail", "two_results.error", "SELECT 1; SELECT no_such_column; SELECT 3", false)
	run(c, "query", "two_results.after_error", "SELECT 'still usable'", false)
	run(c, "run", "two_results.exec", "DO 1; UPDATE accounts SET amount = amount + 1; DO 2", false)
	must(c.Close())
	plain := open(nil)
	defer plain.Close()
	run(plain, "fail", "two_results.not_asked", "SELECT 1; SELECT 2", false)
}

func procedure(c querier) {
	exec(c, "DROP PROCEDURE IF EXISTS two_sets")
	exec(c, "CREATE PROCEDURE two_sets(IN a INT, OUT b INT, INOUT c INT) BEGIN"+
		" SELECT a AS first; SELECT a + 1 AS second, 'x' AS text; SET b = a * 2; SET c = c + a; END")
	exec(c, "SET @c = 3")
	run(c, "query", "procedure.text", "CALL two_sets(20, @b, @c)", false)
	run(c, "query", "procedure.out", "SELECT @b, @c", false)
	run(c, "query", "procedure.prepared", "CALL two_sets(?, @b, @c)", true, 30)
	run(c, "query", "procedure.prepared_out", "SELECT @b, @c", false)
	exec(c, "DROP PROCEDURE IF EXISTS failing")
	exec(c, "CREATE PROCEDURE failing() BEGIN SELECT 1;"+
		" SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'said no', MYSQL_ERRNO = 5001; END")
	rows, err := c.QueryContext(ctx, "CALL failing()")
	if err == nil {
		err = rowFacts("procedure.failing", rows)
	}
	if err != nil {
		errorFacts("procedure.signal", err)
	}
}

func transactions(c *sql.Conn) {
	exec(c, "DROP TABLE IF EXISTS accounts")
	exec(c, "CREATE TABLE accounts (id INT PRIMARY KEY, amount INT)")
	begin := func(options *sql.TxOptions) *sql.Tx {
		tx, err := c.BeginTx(ctx, options)
		must(err)
		return tx
	}
	tx := begin(nil)
	run(tx, "run", "transaction.insert", "INSERT INTO accounts VALUES (?, ?)", false, 1, 100)
	must(tx.Commit())
	tx = begin(&sql.TxOptions{Isolation: sql.LevelSerializable})
	run(tx, "run", "transaction.second", "INSERT INTO accounts VALUES (?, ?)", false, 2, 200)
	run(tx, "query", "transaction.inside", "SELECT COUNT(*) FROM accounts", false)
	must(tx.Rollback())
	run(c, "query", "transaction.after", "SELECT * FROM accounts", true)
	tx = begin(&sql.TxOptions{ReadOnly: true})
	run(tx, "fail", "transaction.read_only", "INSERT INTO accounts VALUES (9, 9)", false)
	must(tx.Rollback())
}

func foundRows() {
	for _, found := range []bool{true, false} {
		db := open(func(c *mysql.Config) { c.ClientFoundRows = found })
		for _, prepared := range []bool{false, true} {
			run(db, "run", fmt.Sprintf("found_rows.%t.%t", found, prepared), "UPDATE accounts SET amount = amount WHERE id = 1", prepared)
		}
		must(db.Close())
	}
}

func sessionAtConnect() {
	db := open(func(c *mysql.Config) {
		must(c.Apply(mysql.Charset("utf8mb4", "utf8mb4_unicode_ci")))
		c.Params = map[string]string{"time_zone": "'+05:30'", "sql_mode": "'ANSI_QUOTES'", "autocommit": "1"}
		c.ParseTime = true
		c.Loc = time.FixedZone("half past", 5*3600+1800)
		c.ConnectionAttributes = "application:weir-drivers,crab:🦀"
		c.MaxAllowedPacket = 0
	})
	defer db.Close()
	c := one(db)
	defer c.Close()
	run(c, "query", "connect.session", "SELECT @@time_zone, @@sql_mode, @@autocommit, @@character_set_client, @@character_set_results, @@collation_connection", false)
	run(c, "query", "connect.ansi_quotes", `SELECT "id" FROM accounts`, false)
	run(c, "query", "connect.time_zone", "SELECT FROM_UNIXTIME(0), ?", false, time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC))
}

// resets looks at what a connection brings along when the pool gives it out again: ResetSession only checks that
// it is alive, and sends nothing.
func resets() {
	db := open(nil)
	defer db.Close()
	db.SetMaxOpenConns(1)
	c := one(db)
	exec(c, "SET @mark = 'set before'")
	must(c.Raw(func(raw any) error {
		return raw.(driver.SessionResetter).ResetSession(ctx)
	}))
	run(c, "query", "reset.kept", "SELECT @mark, DATABASE()", false)
	must(c.Close())
	run(db, "query", "reset.next_user_of_the_pool", "SELECT @mark", false)
}

// cancels stops a statement by its context: the driver closes the connection.
func cancels() {
	db := open(nil)
	defer db.Close()
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	began := time.Now()
	_, err := db.QueryContext(short, "SELECT SLEEP(20)")
	fact("cancel", errors.Is(err, context.DeadlineExceeded), time.Since(began) < 10*time.Second)
	run(db, "query", "cancel.after", "SELECT 'usable'", false)
}

func pool() {
	db := open(nil)
	defer db.Close()
	db.SetMaxOpenConns(4)
	found := make(chan int, 40)
	for i := range 40 {
		go func() {
			var n int
			must(db.QueryRowContext(ctx, "SELECT ? + 0", i).Scan(&n))
			found <- n
		}()
	}
	total := 0
	for range 40 {
		total += <-found
	}
	fact("pool", total)
}

func manyRows(c *sql.Conn) {
	exec(c, "DROP TABLE IF EXISTS many")
	exec(c, "CREATE TABLE many (id INT PRIMARY KEY, a VARCHAR(60), b DOUBLE)")
	depth := "max_recursive_iterations"
	if os.Getenv("DRIVER_SERVER") == "mysql" {
		depth = "cte_max_recursion_depth"
	}
	exec(c, "SET SESSION "+depth+" = 100000")
	exec(c, "INSERT INTO many WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000)"+
		" SELECT i, SHA2(i, 224), i / 7 FROM n")
	for _, args := range [][]any{{}, {0}} {
		text := "SELECT * FROM many ORDER BY id"
		if len(args) > 0 {
			text = "SELECT * FROM many WHERE id > ? ORDER BY id"
		}
		rows, err := c.QueryContext(ctx, text, args...)
		must(err)
		digest, count := sha256.New(), 0
		for rows.Next() {
			var id, a, b sql.RawBytes
			must(rows.Scan(&id, &a, &b))
			fmt.Fprintf(digest, "%s,%s,%s\n", id, a, b)
			count++
		}
		must(rows.Err())
		must(rows.Close())
		fact("big_result", len(args), count, hex.EncodeToString(digest.Sum(nil)))
	}
	// a result that is left half read is drained by the driver
	rows, err := c.QueryContext(ctx, "SELECT * FROM many ORDER BY id")
	must(err)
	rows.Next()
	must(rows.Close())
	run(c, "query", "big_result.after_abandoned", "SELECT COUNT(*), SUM(id) FROM many", false)
}

func loadDataLocal(c *sql.Conn) {
	exec(c, "DROP TABLE IF EXISTS loaded")
	exec(c, "CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(30) CHARACTER SET utf8mb4)")
	mysql.RegisterReaderHandler("lines", func() io.Reader {
		var lines strings.Builder
		for i := range 20000 {
			fmt.Fprintf(&lines, "%d,crab 🦀 %d\n", i, i)
		}
		return strings.NewReader(lines.String())
	})
	run(c, "run", "local_infile", "LOAD DATA LOCAL INFILE 'Reader::lines' INTO TABLE loaded CHARACTER SET utf8mb4 FIELDS TERMINATED BY ','", false)
	run(c, "query", "local_infile.read", "SELECT COUNT(*), SUM(id), MAX(v) FROM loaded", false)
}

func facts() {
	db := open(nil)
	defer db.Close()
	c := one(db)
	for _, prepared := range []bool{false, true} {
		for _, s := range statements() {
			name := "text." + s.name
			if prepared {
				name = "prepared." + s.name
			}
			run(c, s.kind, name, s.text, prepared && s.how == "both")
		}
	}
	parameters(c)
	preparedManyTimes(c)
	bigBlob(c)
	transactions(c)
	twoResults()
	procedure(c)
	foundRows()
	sessionAtConnect()
	resets()
	must(c.PingContext(ctx))
	fact("ping", "ok")
	cancels()
	pool()
	manyRows(c)
	loadDataLocal(c)
	must(c.Close())
}

func main() {
	log.SetFlags(log.Lshortfile)
	if os.Getenv("DRIVER_ACTION") == "facts" {
		facts()
	} else {
		logins()
	}
}
