-- The delta encoding: what decodes, and that every malformation is refused with its place.
SET timezone = 'UTC'; SET datestyle = 'ISO';
SELECT * FROM topk.delta_rows(t.deltas());
SELECT * FROM topk.delta_rows(t.deltas(t.hour('1970-01-01Z', t.entry('Ä', 1), t.entry(repeat('𝄞', 64), 9223372036854775807)), t.hour('2020-01-01 05:00Z', t.entry('A', 2), t.entry('AA', 3), t.entry('a', 4))));
SELECT * FROM topk.delta_rows(NULL);
CREATE TABLE malformed (what text, deltas bytea);
INSERT INTO malformed VALUES
    ('nothing', ''), ('version 0', '\x00'), ('version 2', '\x02'),
    ('hour cut off', '\x01' || substr(int8send(0), 1, 5)), ('count cut off', '\x01' || int8send(0) || '\x0000'), ('no entries', t.deltas(int8send(0) || int4send(0))),
    ('entries missing', t.deltas(int8send(0) || int4send(2) || t.entry('a', 1))), ('count of four billion', t.deltas(int8send(0) || int4send(-1) || t.entry('a', 1))),
    ('length cut off', t.deltas(int8send(0) || int4send(1) || '\x00')), ('id cut off', t.deltas(int8send(0) || int4send(1) || '\x0005' || 'abc'::bytea)),
    ('views cut off', t.deltas(int8send(0) || int4send(1) || '\x0001' || 'a'::bytea || '\x00000000000000')),
    ('id empty', t.deltas(t.hour('1970-01-01Z', t.entry('', 1)))), ('id of 257 bytes', t.deltas(t.hour('1970-01-01Z', t.entry(repeat('x', 257), 1)))),
    ('views 0', t.deltas(t.hour('1970-01-01Z', t.entry('a', 0)))), ('views negative', t.deltas(t.hour('1970-01-01Z', t.entry('a', -1)))),
    ('id twice', t.deltas(t.hour('1970-01-01Z', t.entry('a', 1), t.entry('a', 1)))), ('ids descend', t.deltas(t.hour('1970-01-01Z', t.entry('b', 1), t.entry('a', 1)))),
    ('prefix after', t.deltas(t.hour('1970-01-01Z', t.entry('ab', 1), t.entry('a', 1)))), ('ids by locale, not bytes', t.deltas(t.hour('1970-01-01Z', t.entry('é', 1), t.entry('z', 1)))),
    ('hour twice', t.deltas(t.hour('1970-01-01Z', t.entry('a', 1)), t.hour('1970-01-01Z', t.entry('a', 1)))), ('hours descend', t.deltas(t.hour('1970-01-02Z', t.entry('a', 1)), t.hour('1970-01-01Z', t.entry('a', 1)))),
    ('something behind', t.deltas(t.hour('1970-01-01Z', t.entry('a', 1))) || '\x00'),
    ('NUL', t.deltas(int8send(0) || int4send(1) || '\x0001' || '\x00' || int8send(1))), ('lone continuation', t.deltas(int8send(0) || int4send(1) || '\x0001' || '\x80' || int8send(1))),
    ('overlong', t.deltas(int8send(0) || int4send(1) || '\x0002' || '\xc080' || int8send(1))), ('overlong of three', t.deltas(int8send(0) || int4send(1) || '\x0003' || '\xe08080' || int8send(1))),
    ('surrogate', t.deltas(int8send(0) || int4send(1) || '\x0003' || '\xeda080' || int8send(1))), ('above U+10FFFF', t.deltas(int8send(0) || int4send(1) || '\x0004' || '\xf4908080' || int8send(1))),
    ('sequence cut off by the end of the id', t.deltas(int8send(0) || int4send(1) || '\x0001' || '\xc3' || int8send(1))),
    ('year 0', t.deltas(int8send(-62135596800001) || int4send(1) || t.entry('a', 1))), ('year 10000', t.deltas(int8send(253402300800000) || int4send(1) || t.entry('a', 1))),
    ('greatest int64', t.deltas(int8send(9223372036854775807) || int4send(1) || t.entry('a', 1)));
SELECT what, t.error(format('SELECT topk.delta_rows(%L)', deltas)) FROM malformed ORDER BY ctid;
-- flush refuses the same.
SELECT topk.create_counter('c');
SELECT count(*) FILTER (WHERE t.error(format($$SELECT topk.flush('c', 'events', %L, NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)])$$, deltas)) LIKE '22023 deltas are malformed: %') AS refused, count(*) FROM malformed;
-- A truncation of good deltas is never good, and never more than an error.
WITH good AS (SELECT t.deltas(t.hour('1970-01-01Z', t.entry('a', 1), t.entry('é', 1)), t.hour('1970-01-02Z', t.entry('b', 1))) AS deltas)
SELECT count(*) FILTER (WHERE t.error(format('SELECT topk.delta_rows(%L)', substr(deltas, 1, n))) LIKE '22023 deltas are malformed: %') AS refused, count(*)
FROM good, generate_series(0, length(deltas) - 1) n WHERE n NOT IN (1, 36);
SELECT topk.drop_counter('c');
DROP TABLE malformed;
