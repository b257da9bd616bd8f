-- create_counter and drop_counter: what they make, whose it is, what they refuse.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CREATE ROLE regress_topk_maker;
CREATE ROLE regress_topk_other;
CREATE SCHEMA made AUTHORIZATION regress_topk_maker;

SET ROLE regress_topk_maker;
SET search_path = made;
SELECT topk.create_counter(time_zone => 'europe/berlin', lateness => '90 s');
SELECT topk.create_counter('Zähler "1"', max_age => '2 days');
RESET ROLE;
RESET search_path;

SELECT c.relname, c.relkind, pg_get_userbyid(c.relowner) AS owner, c.reloptions, obj_description(c.oid) AS comment
FROM pg_class c WHERE c.relnamespace = 'made'::regnamespace AND c.relkind IN ('r', 'p', 'v') ORDER BY c.relname COLLATE "C";
SELECT attrelid::regclass AS hours, attname, format_type(atttypid, atttypmod) AS type, attnotnull, collname
FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation WHERE attrelid = 'made.video_views_hour'::regclass AND attnum > 0 ORDER BY attnum;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'made.video_views_hour'::regclass ORDER BY 1;
SELECT name, hour_table, time_zone, lateness, max_clock_skew, max_age, idle_timeout, sealed_through FROM topk.counter ORDER BY name;

-- A counter without rows answers with no rows.
SELECT count(*) FROM topk('hour') UNION ALL SELECT count(*) FROM topk('all_time', counter => 'Zähler "1"') UNION ALL SELECT count(*) FROM made.video_views_day;

-- Refusals.
SELECT t.error($$SELECT topk.create_counter()$$);
SELECT t.error($$SELECT topk.create_counter('')$$);
SELECT t.error($$SELECT topk.create_counter(repeat('x', 41))$$);
SELECT t.error($$SELECT topk.create_counter(NULL)$$);
SELECT t.error($$SELECT topk.create_counter('bad', 'Europe/Atlantis')$$);
SELECT t.error($$SELECT topk.create_counter('bad', NULL)$$);
SELECT t.error($$SELECT topk.create_counter('bad', lateness => '-1 s')$$);
SELECT t.error($$SELECT topk.create_counter('bad', max_age => '0')$$);
SELECT t.error($$SELECT topk.create_counter('bad', max_age => '2000 years')$$);
SET search_path = nowhere;
SELECT t.error($$SELECT topk.create_counter('bad')$$);
RESET search_path;
SET ROLE regress_topk_other;
SELECT t.error($$SELECT topk.create_counter('bad')$$);
SELECT t.error($$SELECT topk.drop_counter('video_views')$$);
-- Registering somebody else's table is refused, whatever it is.
SELECT t.error($$SELECT topk.register_counter('bad', (SELECT c.oid FROM pg_class c WHERE relname = 'video_views_hour'), 'UTC', '1 s', '1 s', '1 s', '1 s')$$);
RESET ROLE;
SELECT t.error($$SELECT topk.register_counter('bad', 'pg_class', 'UTC', '1 s', '1 s', '1 s', '1 s')$$);
SELECT t.error($$SELECT topk.drop_counter('no such')$$);
SELECT t.error($$SELECT * FROM topk('hour', counter => 'no such')$$);

-- 40 bytes are allowed, also when a partition and the longest suffix are added.
SELECT topk.create_counter(repeat('x', 40));
SELECT partition, status FROM topk.claim(repeat('x', 40), 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush(repeat('x', 40), 'events', t.deltas(t.hour('2020-01-01 00:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
SELECT relname FROM pg_class WHERE relname ~ '^x{40}_hour_\d+$';

-- Renamed and moved tables are followed; plans of the session notice, also when a counter is made again.
ALTER TABLE xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_hour RENAME TO renamed;
SELECT topk.flush(repeat('x', 40), 'events', t.deltas(t.hour('2020-01-01 00:00Z', t.entry('a', 1)), t.hour('2020-01-02 00:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 1, 2)]);
SELECT * FROM topk('hour', 10, '2020-01-01 00:00Z', repeat('x', 40));
SELECT topk.drop_counter(repeat('x', 40));
SELECT topk.create_counter(repeat('x', 40));
SELECT partition, epoch FROM topk.claim(repeat('x', 40), 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush(repeat('x', 40), 'events', t.deltas(t.hour('2020-01-01 00:00Z', t.entry('b', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
SELECT * FROM topk('all_time', 10, NULL, repeat('x', 40));

-- Dropping leaves nothing; tables dropped by hand can still be forgotten.
DROP TABLE xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_hour CASCADE;
SELECT t.error($$SELECT * FROM topk('hour', counter => repeat('x', 40))$$);
SELECT t.error($$SELECT topk.create_counter(repeat('x', 40))$$);
SELECT topk.drop_counter(repeat('x', 40));
SET ROLE regress_topk_maker;
SELECT topk.drop_counter('video_views');
SELECT topk.drop_counter('Zähler "1"');
RESET ROLE;
SELECT count(*) FROM pg_class WHERE relnamespace = 'made'::regnamespace;
SELECT count(*) FROM topk.counter UNION ALL SELECT count(*) FROM topk.hour_map UNION ALL SELECT count(*) FROM topk.kafka_progress;

-- Tables dropped by hand: nothing is read beside them, a dump leaves the counter out, and who owned them may remove the rest.
SET ROLE regress_topk_maker;
SET search_path = made, public;
SELECT topk.create_counter('broken');
SELECT partition FROM topk.claim('broken', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
RESET ROLE;
CREATE VIEW dumped AS SELECT u.id::regclass::text AS name, (xpath('/row/c/text()', query_to_xml('SELECT count(*) AS c FROM ONLY ' || u.id::regclass || ' ' || condition, false, true, '')))[1]::text::int AS rows
    FROM pg_extension, unnest(extconfig, extcondition) u (id, condition) WHERE extname = 'topk';
GRANT CREATE ON SCHEMA made TO regress_topk_other;
SELECT topk.grant_access('regress_topk_other', 'ingest', 'broken');
SELECT * FROM dumped WHERE rows > 0 ORDER BY name COLLATE "C";
SET ROLE regress_topk_maker;
DROP TABLE broken_late CASCADE;
SELECT t.error($$SELECT topk.flush('broken', 'events', t.deltas(), ARRAY[ROW('2020-01-01Z', 'a', 1, 1)::topk.flush_late], NULL, ARRAY[t.advance(0, 1, 0, 1)])$$);
SELECT t.error($$SELECT * FROM topk('all_time', counter => 'broken')$$);
SELECT t.error($$SELECT topk.grant_access('regress_topk_other', 'read', 'broken')$$);
RESET ROLE;
SELECT * FROM dumped WHERE rows > 0;
DROP VIEW dumped;
SET ROLE regress_topk_maker;
DROP TABLE broken_hour, broken_day_rollup, broken_month_rollup, broken_all_time_rollup;
SET ROLE regress_topk_other;
SELECT t.error($$SELECT topk.drop_counter('broken')$$);
SET ROLE regress_topk_maker;
SELECT topk.drop_counter('broken');

-- Names that somebody took do not stop a flush: neither a table nor a type of the name of a partition.
SELECT topk.create_counter('squatted');
RESET ROLE;
CREATE TYPE made.squatted_hour_20200101 AS ENUM ();
CREATE TABLE made.squatted_hour_20200101_2 ();
SELECT partition FROM topk.claim('squatted', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush('squatted', 'events', t.deltas(t.hour('2020-01-01 00:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
SELECT tableoid::regclass, views FROM made.squatted_hour;
DROP TYPE made.squatted_hour_20200101;
DROP TABLE made.squatted_hour_20200101_2;
SELECT topk.drop_counter('squatted');

-- Views that somebody else put where the counter's go are not taken over: he could replace them afterwards.
GRANT USAGE, CREATE ON SCHEMA made TO regress_topk_other;
SET ROLE regress_topk_other;
CREATE VIEW made.victim_month AS SELECT now() AS window_start, 'x' COLLATE "C" AS video_id, 1::bigint AS views;
RESET ROLE;
SET search_path = made;
SELECT t.error($$SELECT topk.create_counter('victim')$$);
RESET search_path;
SELECT count(*) FROM topk.counter WHERE name = 'victim';
DROP VIEW made.victim_month;

-- Temporary tables do not make a counter, nor do operators of the caller's.
SET search_path = pg_temp;
SELECT t.error($$SELECT topk.create_counter('temporary')$$);
CREATE FUNCTION public.never(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.never);
SET search_path = public, pg_catalog;
SELECT topk.create_counter('operators');
DROP OPERATOR public.= (text, text);
RESET search_path;
DROP FUNCTION never;
INSERT INTO operators_late VALUES ('all_time', '-infinity', 'a', 1);
SELECT * FROM operators_all_time;
SELECT topk.drop_counter('operators');
DROP SCHEMA made;
DROP ROLE regress_topk_maker, regress_topk_other;
