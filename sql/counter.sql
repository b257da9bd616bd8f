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
SELECT t.error($$SELECT topk.register_counter('bad', 'pg_class', 'UTC', '1 s', '1 s', '1 s', '1 s')$$);
RESET ROLE;
SELECT t.error($$SELECT topk.drop_counter('no such')$$);
SELECT t.error($$SELECT * FROM topk('hour', counter => 'no such')$$);

-- 40 bytes are allowed, also when a partition and the longest suffix are added.
SELECT topk.create_counter(repeat('x', 40));
SELECT partition, status FROM topk.claim(repeat('x', 40), 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush(repeat('x', 40), 'events', t.deltas(t.hour('2026-01-01 00:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
SELECT relname FROM pg_class WHERE relname ~ '^x{40}_hour_\d+$';

-- Renamed and moved tables are followed; plans of the session notice, also when a counter is made again.
ALTER TABLE xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_hour RENAME TO renamed;
SELECT topk.flush(repeat('x', 40), 'events', t.deltas(t.hour('2026-01-01 00:00Z', t.entry('a', 1)), t.hour('2026-01-02 00:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 1, 2)]);
SELECT * FROM topk('hour', 10, '2026-01-01 00:00Z', repeat('x', 40));
SELECT topk.drop_counter(repeat('x', 40));
SELECT topk.create_counter(repeat('x', 40));
SELECT partition, epoch FROM topk.claim(repeat('x', 40), 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush(repeat('x', 40), 'events', t.deltas(t.hour('2026-01-01 00:00Z', t.entry('b', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
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
DROP TABLE xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_late, xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_day_rollup, xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_month_rollup, xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx_all_time_rollup;
DROP SCHEMA made;
DROP ROLE regress_topk_maker, regress_topk_other;
