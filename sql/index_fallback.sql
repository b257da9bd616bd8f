-- Rows beyond the candidates: read by a btree that has all rows of the group and no others' order of equality, else from the table.
SET client_min_messages = warning;
CREATE TABLE beyond (a text COLLATE "C", b int, score int, id int);
INSERT INTO beyond SELECT nullif(chr(65 + n % 3), 'C'), n % 2, n * 7919 % 1009, n FROM generate_series(1, 3000) n;
CREATE INDEX beyond_top ON beyond USING topk (a, b, score DESC, id) WITH (k = 10);
CREATE FUNCTION beyond(btree text, change text DEFAULT NULL, of_group text DEFAULT 'a = ''A'' AND b = 1') RETURNS text LANGUAGE plpgsql AS $$
DECLARE query text := format('SELECT array_agg(id) FROM (SELECT id FROM beyond WHERE %s ORDER BY score DESC, id LIMIT 400) list', of_group);
    by_index int[]; by_heap int[]; scans int; plan json;
BEGIN
    EXECUTE 'CREATE INDEX beyond_btree ON beyond ' || btree;
    IF change IS NOT NULL THEN EXECUTE format('UPDATE pg_index SET %s WHERE indexrelid = ''beyond_btree''::regclass', change); END IF;
    SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    EXECUTE query INTO by_index;
    scans := pg_stat_get_xact_numscans('beyond_btree'::regclass);
    SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on; SET LOCAL enable_indexscan = off;
    EXECUTE query INTO by_heap;
    SET LOCAL enable_indexscan = on;
    DROP INDEX beyond_btree;
    RETURN format('%s%s of %s rows, by the %s', CASE WHEN plan::text NOT LIKE '%beyond_top%' THEN 'planned otherwise: ' END, CASE WHEN by_index = by_heap THEN 'the same' ELSE 'other than the' END, cardinality(by_heap), CASE scans WHEN 0 THEN 'table' ELSE 'btree' END);
END $$;
SELECT btree, beyond(btree) FROM unnest('{"(a, b)", "(b, a)", "(a, b, id)", "(a text_pattern_ops, b)"}'::text[]) btree;
SELECT btree, beyond(btree) FROM unnest('{(a), "(a, id, b)", "(a, a, b)", "(a COLLATE \"en-x-icu\", b)", "(lower(a), b)", "(a, b) WHERE id > 0", "USING hash (a)", "USING topk (a, b, score DESC)"}'::text[]) btree;
SELECT change, beyond('(a, b)', change) FROM unnest('{indisvalid = false,indisready = false,indcheckxmin = true}'::text[]) change;
SELECT beyond('(a, b)', NULL, 'a = ''A'' AND b = 1::bigint') AS of_another_type;
DROP TABLE beyond;
DROP FUNCTION beyond;

-- The first pass keeps the best 16 k rows: a table of one fewer, as many, one more
CREATE TABLE pass (g int, score int);
CREATE INDEX pass_top ON pass USING topk (g, score DESC) WITH (k = 1);
SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM pass ORDER BY g, score DESC;
INSERT INTO pass SELECT 1, n FROM generate_series(1, 15) n;
SELECT count(*), sum(score) FROM (SELECT score FROM pass ORDER BY g, score DESC OFFSET 0) list;
INSERT INTO pass VALUES (2, 16);
SELECT count(*), sum(score) FROM (SELECT score FROM pass ORDER BY g, score DESC OFFSET 0) list;
INSERT INTO pass VALUES (1, 17);
SELECT count(*), sum(score) FROM (SELECT score FROM pass ORDER BY g, score DESC OFFSET 0) list;
RESET enable_seqscan; RESET enable_sort; RESET enable_bitmapscan;
DROP TABLE pass;
