CREATE TABLE kinds (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  tiny TINYINT, big BIGINT UNSIGNED, real_number DOUBLE, small_real FLOAT, exact DECIMAL(65,30), bits BIT(13),
  day DATE, moment DATETIME(6), stamp TIMESTAMP(3) NULL, clock TIME(2), y YEAR,
  name VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci, code CHAR(10) CHARACTER SET latin1,
  bytes VARBINARY(300), picture LONGBLOB, story LONGTEXT CHARACTER SET utf8mb4, doc JSON,
  colour ENUM('red','green','голубой') CHARACTER SET utf8mb4, tags SET('a','b','c'),
  place POINT, doubled BIGINT AS (tiny * 2) STORED, upper_name VARCHAR(100) AS (UPPER(name)) VIRTUAL,
  KEY by_name (name(20)), KEY by_doubled (doubled), FULLTEXT KEY words (story)
) CHARACTER SET utf8mb4 COMMENT='every kind of column; with ''quotes'' and 🦀';
INSERT INTO kinds (tiny, big, real_number, small_real, exact, bits, day, moment, stamp, clock, y, name, code, bytes, picture, story, doc, colour, tags, place) VALUES
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (127, 18446744073709551615, 1.7976931348623157e308, 3.25, 99999999999999999999999999999999999.999999999999999999999999999999, b'1111111111111', '9999-12-31', '9999-12-31 23:59:59.999999', '2037-01-01 00:00:00.123', '838:59:58.99', 2155, 'crab 🦀 ''quoted'' "twice" back\\slash', 'café', 0x00010227225C0A0D1AFF, 0xFFD8FF00, 'line one\nline two\r\nand a tab\t and nul \0 end', '{"a": [1, 2.5, null], "ключ": "🦀"}', 'голубой', 'a,c', ST_GeomFromText('POINT(1.5 -2.5)')),
  (-128, 0, -2.2250738585072014e-308, -0.5, -99999999999999999999999999999999999.999999999999999999999999999999, b'0', '1000-01-01', '1000-01-01 00:00:00.000001', '1970-01-02 00:00:01.001', '-838:59:59', 1901, '', '', '', '', '', '[]', 'red', '', ST_GeomFromText('POINT(0 0)'));
CREATE TABLE parent (id INT PRIMARY KEY, label VARCHAR(20) NOT NULL UNIQUE, CONSTRAINT positive CHECK (id > 0));
CREATE TABLE child (id INT PRIMARY KEY AUTO_INCREMENT, parent_id INT NOT NULL, amount DECIMAL(12,2) NOT NULL DEFAULT 0,
  CONSTRAINT child_of FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE) AUTO_INCREMENT=1000;
CREATE TABLE audit (id INT PRIMARY KEY AUTO_INCREMENT, what VARCHAR(60), child_id INT);
CREATE TABLE many (id INT PRIMARY KEY, text VARCHAR(200), parted INT NOT NULL DEFAULT 0);
CREATE TABLE parted (id INT NOT NULL, at DATE NOT NULL, PRIMARY KEY (id, at))
  PARTITION BY RANGE (YEAR(at)) (PARTITION old VALUES LESS THAN (2020), PARTITION recent VALUES LESS THAN MAXVALUE);
CREATE TABLE `odd name; -- "quoted" ``tick``` (`sel ect` INT, `имя` VARCHAR(10));
INSERT INTO `odd name; -- "quoted" ``tick``` VALUES (1, 'да');
INSERT INTO parent VALUES (1, 'one'), (2, 'two'), (3, 'three');
INSERT INTO parted VALUES (1, '2019-05-05'), (2, '2021-06-06');
INSERT INTO many (id, text) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, REPEAT(SHA2(i, 256), 2) FROM n;
CREATE VIEW totals AS SELECT p.label, COUNT(c.id) AS children, SUM(c.amount) AS amount FROM parent p LEFT JOIN child c ON c.parent_id = p.id GROUP BY p.label;
CREATE VIEW above AS SELECT * FROM totals WHERE children > 0;
DELIMITER //
CREATE TRIGGER child_added AFTER INSERT ON child FOR EACH ROW BEGIN INSERT INTO audit (what, child_id) VALUES (CONCAT('added 🦀 ', NEW.amount), NEW.id); END//
CREATE TRIGGER child_gone BEFORE DELETE ON child FOR EACH ROW INSERT INTO audit (what, child_id) VALUES ('gone', OLD.id)//
CREATE PROCEDURE add_child(IN p INT, IN a DECIMAL(12,2), OUT id INT) COMMENT 'adds; one'
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; SET id = -1; END;
  START TRANSACTION;
  INSERT INTO child (parent_id, amount) VALUES (p, a);
  SET id = LAST_INSERT_ID();
  COMMIT;
END//
CREATE FUNCTION twice(a INT) RETURNS INT DETERMINISTIC RETURN a * 2//
CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE COMMENT 'never runs' DO DELETE FROM audit WHERE id < 0//
DELIMITER ;
CALL add_child(1, 10.50, @id);
CALL add_child(2, 20.25, @id);
CALL add_child(9, 1, @id);
DELETE FROM child WHERE parent_id = 2;
