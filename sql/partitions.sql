-- Partitions that no flush makes: ahead of time, and of tables that become a counter's again.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CREATE ROLE regress_topk_ahead;
SELECT topk.create_counter('v', 'Europe/Berlin');
SELECT topk.make_partitions('v', '2026-03-28 12:00Z', '2026-03-29 22:00Z');
SELECT inhrelid::regclass, pg_get_expr(relpartbound, inhrelid) FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'v_hour'::regclass ORDER BY 1;
SELECT day_start, count(*), min(hour_start), max(hour_end) FROM topk.hour_map GROUP BY 1 ORDER BY 1;
SELECT topk.make_partitions('v', '2026-03-28 12:00Z', '2026-03-29 22:00Z'), topk.make_partitions('v', '2026-03-29 22:00Z', '2026-03-29 22:00Z'),
    topk.make_partitions('v', '2026-03-29 21:59Z', '2026-03-29 22:01Z');
SELECT t.error($$SELECT topk.make_partitions('v', '2026-01-02', '2026-01-01')$$), t.error($$SELECT topk.make_partitions('v', '2025-01-01', '2026-01-03')$$);
SELECT t.error($$SELECT topk.make_partitions('v', NULL, '2026-01-01')$$), t.error($$SELECT topk.make_partitions('v', '2026-01-01', 'infinity')$$), t.error($$SELECT topk.make_partitions('w', '2026-01-01', '2026-01-01')$$);
SET ROLE regress_topk_ahead;
SELECT t.error($$SELECT topk.make_partitions('v', '2026-01-01', '2026-01-02')$$);
RESET ROLE;
SELECT topk.grant_access('regress_topk_ahead', 'admin', 'v');
SET ROLE regress_topk_ahead;
SELECT topk.make_partitions('v', '2026-01-01', '2026-01-02');
RESET ROLE;
SELECT tableowner = current_user AS owned FROM pg_tables WHERE tablename = 'v_hour_20260101';

-- A flush writes into a partition that was made ahead, and a list merges its hours.
SELECT status FROM topk.claim('v', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush('v', 'events', t.deltas(t.hour('2026-03-29 00:00Z', t.entry('a', 1)), t.hour('2026-03-29 01:00Z', t.entry('a', 2), t.entry('b', 2))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 3)]);
SELECT * FROM topk('day', 10, '2026-03-29 12:00Z', 'v');

-- Tables without their rows in the registry, as of a dump of the owner's schema alone: registered again, with their hours.
CREATE TABLE kept AS SELECT * FROM topk.hour_map;
CREATE FUNCTION forget() RETURNS void LANGUAGE sql AS $$ DELETE FROM topk.counter_data; DELETE FROM topk.hour_map; DELETE FROM topk.kafka_progress_data; DELETE FROM topk.hour_book_data; DELETE FROM topk.access_data $$;
SELECT forget();
-- Not as hours that one knows nothing about: without bounds, of more than a year, or of a piece of an hour
CREATE TABLE v_first PARTITION OF v_hour FOR VALUES FROM (MINVALUE) TO ('2020-01-01Z');
CREATE TABLE v_long PARTITION OF v_hour FOR VALUES FROM ('2020-01-01Z') TO ('2024-01-01Z');
CREATE TABLE v_piece PARTITION OF v_hour FOR VALUES FROM ('2024-01-01 00:30Z') TO ('2024-01-01 02:30Z');
SELECT topk.register_counter('v', 'v_hour', 'Europe/Berlin', '60 s', '5 min', '400 days', '60 s');
SELECT hour_start, hour_end, day_start, month_start FROM topk.hour_map EXCEPT SELECT hour_start, hour_end, day_start, month_start FROM kept;
SELECT count(*) FROM (SELECT * FROM kept EXCEPT SELECT * FROM topk.hour_map) missing;
SELECT * FROM topk('day', 10, '2026-03-29 12:00Z', 'v');
SELECT * FROM v_day ORDER BY 1, 2;
SELECT status FROM topk.claim('v', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush('v', 'events', t.deltas(t.hour('2026-03-29 01:00Z', t.entry('a', 2))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
SELECT * FROM v_day ORDER BY 1, 2;

-- How far the roll-up had come is not in the tables.
SELECT forget();
INSERT INTO v_month_rollup VALUES ('2026-02-28 23:00Z', 'a', 1);
SELECT t.error($$SELECT topk.register_counter('v', 'v_hour', 'Europe/Berlin', '60 s', '5 min', '400 days', '60 s')$$);
TRUNCATE v_month_rollup;
SELECT topk.register_counter('v', 'v_hour', 'Europe/Berlin', '60 s', '5 min', '400 days', '60 s');
SELECT topk.drop_counter('v');
DROP TABLE kept; DROP FUNCTION forget; DROP ROLE regress_topk_ahead;
