DROP TABLE IF EXISTS blobs, many;
CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB);
CREATE TABLE many (id INT PRIMARY KEY, a VARCHAR(60), b DOUBLE);
SET SESSION {depth} = 100000;
INSERT INTO many WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT i, SHA2(i, 224), i / 7 FROM n;
SELECT COUNT(*), SUM(id) FROM many;
SELECT * FROM many ORDER BY id LIMIT 2000;
DELIMITER //
SELECT 1 AS first; SELECT 2 AS second; DO 1; SELECT 'third' AS third//
SELECT 1 AS first; SELECT no_such_column; SELECT 3 AS never//
DROP PROCEDURE IF EXISTS two_sets//
CREATE PROCEDURE two_sets(IN a INT, OUT b INT, INOUT c INT)
BEGIN
  SELECT a AS first;
  SELECT a + 1 AS second, 'x' AS text;
  SET b = a * 2;
  SET c = c + a;
END//
DROP PROCEDURE IF EXISTS failing//
CREATE PROCEDURE failing()
BEGIN
  SELECT 1;
  SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'said no', MYSQL_ERRNO = 5001;
END//
DELIMITER ;
SET @c = 3;
CALL two_sets(20, @b, @c);
SELECT @b, @c;
CALL failing();
SELECT 'usable' AS after_signal;
use information_schema
SELECT DATABASE();
charset latin1
SELECT @@character_set_client, 'x' AS plain;
charset utf8mb4
SELECT 'crab 🦀' AS crab\G
