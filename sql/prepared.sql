-- Prepared sums of the sealed part of trailing spans: lists that are merged from them equal sums of all rows, and they are used only where
-- they hold. All in one transaction, so that the running hour stays the same.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CREATE ROLE regress_topk_policed;
BEGIN;
-- It is noon in the counter's time zone: a correction raises the revision of its day, too, and no day begins within the sealed hours of the spans.
SELECT topk.create_counter('prep', format('Etc/GMT%s%s', CASE WHEN behind >= 0 THEN '+' END, behind)) FROM (SELECT extract(hour FROM now())::int - 12 AS behind) s;
SELECT partition FROM topk.claim('prep', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
CREATE FUNCTION hour(n int) RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT date_trunc('hour', now()) + n * interval '1 hour' $$;
-- The hours from 30 before this one to the next, those near this one with many videos; the two before this one are open.
SELECT topk.flush('prep', 'events', (SELECT t.deltas(VARIADIC array_agg(t.hour(hour(n), t.entry('first', 1)) ORDER BY n)) FROM generate_series(-30, 1) n), NULL, NULL, ARRAY[t.advance(0, 1, 0, 10, hour(-1) - interval '30 min')]);
SELECT topk.seal_step('prep') = hour(-2) AS sealed;
INSERT INTO prep_hour SELECT hour(n), 'v' || lpad(v::text, 4, '0'), 1 + 100000 / (v + (v * 7 + (n + 60) * 3) % 50) FROM unnest('{-30,-26,-9,-8,-7,-6,-5,-4,-3,-2,-1,0,1}'::int[]) n, generate_series(1, 2200) v ORDER BY 1, 2;
-- Not among the greatest of the sealed hours, but with what came since.
INSERT INTO prep_hour VALUES (hour(0), 'rising', 100000), (hour(-3), 'rising', 3), (hour(-6), 'rising', 5);

CREATE FUNCTION differences(span text, k int, at timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM topk(span, k, at, 'prep') l FULL JOIN (SELECT row_number() OVER (ORDER BY sum(views) DESC, video_id) AS rank, video_id, sum(views)::bigint AS views
        FROM prep_hour WHERE window_start <= at AND window_start > at - span::interval GROUP BY video_id ORDER BY 1 LIMIT k) v USING (rank, video_id, views) WHERE l IS NULL OR v IS NULL $$;
CREATE FUNCTION wrong() RETURNS TABLE (span text, k int, at int, differences bigint) LANGUAGE sql STABLE AS $$
    SELECT * FROM (SELECT span, k, n, differences(span, k, hour(n)) AS differences FROM unnest('{8 hours,7 days,5 hours}'::text[]) span, unnest('{1000}'::int[]) k, generate_series(-1, 1) n OFFSET 0) d WHERE d.differences > 0 $$;
-- The lists, without what depends on the clock: how many of which kind.
CREATE FUNCTION lists(span text, n int DEFAULT 0) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s × %s', count, kind), ', ' ORDER BY kind DESC) FROM (SELECT substring(list, '^[a-z ]+[a-z]') AS kind, count(*) FROM topk.explain(span, 100, hour(n), 'prep') WHERE list <> 'all' GROUP BY 1) l $$;
CREATE FUNCTION ended(span text, k int) RETURNS text LANGUAGE sql STABLE AS $$ SELECT ended FROM topk.explain(span, k, hour(0), 'prep') WHERE list = 'all' $$;

-- Every step prepares one range: how many there were.
CREATE FUNCTION prepare_all(counter text DEFAULT 'prep') RETURNS int LANGUAGE plpgsql AS $$
DECLARE n int := 0;
BEGIN
    WHILE topk.prepare_step(counter) > 0 LOOP n := n + 1; END LOOP;
    RETURN n;
END $$;

SELECT lists('8 hours'), ended('8 hours', 100);
SELECT * FROM wrong();
SELECT prepared_spans FROM topk.counter_data WHERE name = 'prep';
SELECT topk.set_prepared_spans('prep', '{8 hours,7 days}');
SELECT topk.prepare_step('prep');
SELECT prepare_all();
SELECT topk.prepare_step('prep') AS again;
SELECT until = hour(-2) AS sealed, hour(0) - since AS reach, complete, corrections, cardinality(video_ids) FROM topk.prepared_sum_data WHERE counter = 'prep' ORDER BY since;
SELECT lists('8 hours') AS now, lists('8 hours', 1) AS next, lists('7 days') AS week, lists('5 hours') AS other, lists('8 hours', -1) AS before;
SELECT k, ended('8 hours', k), ended('7 days', k) FROM unnest('{10,1000}'::int[]) k;
SELECT rank, views FROM topk('8 hours', 1000, hour(0), 'prep') WHERE video_id = 'rising';
SELECT * FROM wrong();
SELECT count(*) AS differences FROM topk.between(hour(-7), hour(-1), 500, 'prep') l FULL JOIN topk('6 hours', 500, hour(-2), 'prep') r USING (rank, video_id, views) WHERE l IS NULL OR r IS NULL;
-- Added up, they are not used.
SAVEPOINT s;
DROP INDEX prep_hour_window_start_views_video_id_idx;
SELECT ended('8 hours', 100);
SELECT * FROM wrong();
ROLLBACK TO s;

-- A correction: they do not hold for who sees it; what is prepared again does. The week has the day's, too, and in a week that begins a month
-- the month's.
SAVEPOINT s;
SELECT topk.correct('prep', hour(-5), 'v0700', 1000000, 'r') > 0 AS corrected;
SELECT lists('8 hours') NOT LIKE '%prepared%' AS left_out, video_id FROM topk('8 hours', 1, hour(0), 'prep');
SELECT * FROM wrong();
SELECT prepare_all();
SELECT lists('8 hours'), corrections, video_id FROM topk('8 hours', 1, hour(0), 'prep'), (SELECT DISTINCT least(corrections, 2) AS corrections FROM topk.prepared_sum_data WHERE counter = 'prep') c;
SELECT * FROM wrong();
ROLLBACK TO s;
SELECT lists('8 hours'), video_id FROM topk('8 hours', 1, hour(0), 'prep');
-- One of an open hour, or of one before the span, does not matter.
SELECT topk.correct('prep', hour(-1), 'v0700', 5, 'r') > 0, topk.correct('prep', hour(-8), 'v0700', 5, 'r') > 0;
SELECT lists('8 hours'), lists('7 days') NOT LIKE '%prepared%' AS week_left_out;
SELECT * FROM wrong();

-- The seal moves on: what was prepared stays of use, until it is prepared anew.
SELECT topk.flush('prep', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 10, 11, hour(-1) + interval '30 min')]) = hour(-2) AS frontier;
SELECT topk.seal_step('prep') = hour(-1) AS sealed;
SELECT lists('8 hours');
SELECT prepare_all();
SELECT lists('8 hours'), count(*) FROM topk.prepared_sum_data WHERE counter = 'prep';
SELECT * FROM wrong();
-- Prepared from roll-ups, too: of days that are whole; a video that was not among the greatest is looked up there.
SAVEPOINT s;
INSERT INTO topk.roll_up_marker SELECT 'prep', 'day', date_trunc('day', now(), time_zone) - interval '1 hour', 'v1000' FROM topk.counter_data WHERE name = 'prep' ON CONFLICT (counter, span) DO UPDATE SET window_start = excluded.window_start, video_id = excluded.video_id;
INSERT INTO prep_day_rollup SELECT m.day_start, h.video_id, sum(h.views) FROM prep_hour h JOIN topk.hour_map m ON m.counter = 'prep' AND m.hour_start = h.window_start JOIN topk.roll_up_marker r ON r.counter = 'prep' AND r.span = 'day'
    WHERE (h.window_start, h.video_id) <= (r.window_start, r.video_id) GROUP BY 1, 2;
SELECT * FROM wrong();
DELETE FROM topk.prepared_sum_data WHERE counter = 'prep';
SELECT * FROM wrong();
SELECT prepare_all();
SELECT * FROM wrong();
ROLLBACK TO s;

-- Policies: the sums are of all rows, so they are not for who may not see all. An admin under policies prepares of all rows.
SELECT topk.grant_access('regress_topk_policed', p, 'prep') FROM unnest('{read,admin}'::text[]) p;
ALTER TABLE prep_hour ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON prep_hour USING (video_id <> 'v0001');
GRANT USAGE ON SCHEMA public TO regress_topk_policed;
SET LOCAL ROLE regress_topk_policed;
SELECT ended('8 hours', 10);
SELECT * FROM wrong();
SELECT topk.correct('prep', hour(-5), 'v0001', 7, 'r') > 0 AS corrected;
SELECT prepare_all();
SELECT * FROM wrong();
RESET ROLE;
SELECT lists('8 hours');
SELECT * FROM wrong();
ALTER TABLE prep_hour DISABLE ROW LEVEL SECURITY;

-- Which spans.
SELECT topk.set_prepared_spans('prep', '{5 hours,8 hours,480 min}');
SELECT prepare_all();
SELECT lists('5 hours'), lists('8 hours'), lists('7 days') NOT LIKE '%prepared%' AS week_left_out;
SELECT * FROM wrong();
SELECT t.error(format('SELECT topk.set_prepared_spans(%L, %L)', 'prep', spans)) FROM unnest(ARRAY['{1 hour}', '{hour}', '{90 min}', '{NULL}', NULL, '{2h,3h,4h,5h,6h,7h,8h,9h,10h}']) spans;
SELECT topk.set_prepared_spans('prep', '{}');
SELECT prepare_all();
SELECT count(*) FROM topk.prepared_sum_data WHERE counter = 'prep';
SELECT topk.revoke_access('regress_topk_policed', 'admin', 'prep');
SET LOCAL ROLE regress_topk_policed;
SELECT t.error($$SELECT topk.prepare_step('prep')$$), t.error($$SELECT topk.set_prepared_spans('prep', '{}')$$), t.error('TABLE topk.prepared_sum_data');
RESET ROLE;
-- A span whose first hours have expired is left out: topk() refuses it.
SELECT topk.set_prepared_spans('prep', '{4 hours,8 hours}');
UPDATE topk.counter_data SET hours_expired_through = hour(-5) WHERE name = 'prep';
SELECT prepare_all();
SELECT hour(0) - since AS reach FROM topk.prepared_sum_data WHERE counter = 'prep' ORDER BY since;
UPDATE topk.counter_data SET hours_expired_through = '-infinity' WHERE name = 'prep';
-- So is one whose first day has, where it begins with a day.
DELETE FROM topk.prepared_sum_data WHERE counter = 'prep';
UPDATE topk.counter_data SET days_expired_through = hour(-5) WHERE name = 'prep';
SELECT prepare_all();
SELECT hour(0) - since AS reach FROM topk.prepared_sum_data WHERE counter = 'prep' ORDER BY since;
UPDATE topk.counter_data SET days_expired_through = '-infinity' WHERE name = 'prep';
-- Forced on the owner, nothing is.
CREATE SCHEMA regress_topk_forced AUTHORIZATION regress_topk_policed;
SET LOCAL search_path = regress_topk_forced, public;
SET LOCAL ROLE regress_topk_policed;
SELECT topk.create_counter('forced');
SELECT partition FROM topk.claim('forced', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('forced', 'events', t.deltas(t.hour(hour(-5), t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 10, hour(-1))]);
SELECT topk.seal_step('forced') = hour(-2) AS sealed;
ALTER TABLE forced_hour ENABLE ROW LEVEL SECURITY; ALTER TABLE forced_hour FORCE ROW LEVEL SECURITY;
SELECT prepare_all('forced') AS forced;
ALTER TABLE forced_hour NO FORCE ROW LEVEL SECURITY;
SELECT prepare_all('forced') AS not_forced;
RESET ROLE;
SELECT ended, rows_read FROM topk.explain('24 hours', 5, NULL, 'forced') WHERE list = 'all' OR list LIKE 'prep%';
-- So few that they lie in the table's page itself, which others may take while the list is read.
SELECT topk.create_counter('few');
SELECT partition FROM topk.claim('few', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('few', 'events', (SELECT t.deltas(VARIADIC array_agg(t.hour(hour(n), t.entry('first', 1)) ORDER BY n)) FROM generate_series(-30, 0) n), NULL, NULL, ARRAY[t.advance(0, 1, 0, 10, hour(-1) - interval '30 min')]);
SELECT topk.seal_step('few') = hour(-2) AS sealed;
INSERT INTO few_hour SELECT hour(n), 'a-video-with-long-id-' || v, v * 10 + n + 30 FROM generate_series(-30, 0) n, generate_series(1, 30) v;
SELECT prepare_all('few');
SELECT cardinality(video_ids), complete FROM topk.prepared_sum_data WHERE counter = 'few' AND since = hour(-23);
SELECT count(*) FILTER (WHERE l IS NULL OR v IS NULL) AS differences, count(*) FROM topk('24 hours', 40, hour(0), 'few') l FULL JOIN (SELECT video_id, sum(views)::bigint AS views FROM few_hour
    WHERE window_start > hour(-24) GROUP BY video_id) v USING (video_id, views);
-- 22003: it names the video.
SAVEPOINT s;
INSERT INTO few_hour SELECT hour(-n), 'too many', 9223372036854775807 FROM generate_series(5, 6) n;
SELECT topk.revise('few', hour(-5));
SELECT t.error($$SELECT prepare_all('few')$$), t.error($$SELECT * FROM topk('24 hours', 10, hour(0), 'few')$$);
ROLLBACK TO s;
-- Of days whose hours have expired: what was put right in the day roll-up by hand. It is noon in the counter's time zone, so that yesterday
-- is sealed as a whole.
SELECT topk.create_counter('noon', format('Etc/GMT%s%s', CASE WHEN behind >= 0 THEN '+' END, behind)) FROM (SELECT extract(hour FROM now())::int - 12 AS behind) s;
SELECT partition FROM topk.claim('noon', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('noon', 'events', t.deltas(t.hour(hour(-30), t.entry('a', 1), t.entry('b', 2)), t.hour(hour(-20), t.entry('a', 3)), t.hour(hour(-5), t.entry('b', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 10, hour(-1) - interval '30 min')]);
SELECT topk.seal_step('noon') = hour(-2) AS sealed;
DO $$ BEGIN WHILE topk.roll_up_step('noon') IS NOT NULL LOOP END LOOP; END $$;
UPDATE topk.counter_data SET hours_expired_through = hour(-12) WHERE name = 'noon';
SELECT prepare_all('noon') > 0 AS prepared;
CREATE FUNCTION noon() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(video_id || ' ' || views, ', ' ORDER BY rank) || (SELECT CASE count(*) WHEN 0 THEN '' ELSE ', prepared' END
    FROM topk.explain('7 days', 5, hour(0), 'noon') WHERE list LIKE 'prepared sums%') FROM topk('7 days', 5, hour(0), 'noon') $$;
SELECT noon();
UPDATE noon_day_rollup SET views = views + 10 WHERE video_id = 'a';
-- On the first of a month yesterday's hours are all of the month before, which the list is read from then.
UPDATE noon_month_rollup SET views = views + 10 WHERE video_id = 'a';
SELECT noon() AS not_told;
SELECT revision AS before FROM topk.window_state('7 days', hour(0), 'noon') \gset
SELECT topk.revise('noon', hour(-20));
SELECT noon() AS revised;
SELECT revision > :before AS told FROM topk.window_state('7 days', hour(0), 'noon');
SELECT prepare_all('noon') > 0 AS prepared;
SELECT noon();
-- A span whose sums cannot be made, here because one exceeds bigint, keeps no other from being prepared.
SAVEPOINT s;
SELECT topk.set_prepared_spans('prep', '{7 days,8 hours}');
DELETE FROM topk.prepared_sum_data;
INSERT INTO prep_hour VALUES (hour(-30), 'over', 9223372036854775807), (hour(-26), 'over', 9223372036854775807);
DO $$
BEGIN
    FOR n IN 1..1000 LOOP
        BEGIN
            PERFORM topk.prepare_step('prep');
        EXCEPTION WHEN numeric_value_out_of_range THEN NULL;
        END;
        EXIT WHEN (SELECT count(*) = 2 FROM topk.prepared_sum_data);
    END LOOP;
END $$;
SELECT hour(-2) - since AS length FROM topk.prepared_sum_data ORDER BY 1;
SELECT t.error($$SELECT topk.prepare_step('prep')$$);
ROLLBACK TO s;
-- Without the table, of a version before.
ALTER TABLE topk.prepared_sum_data RENAME TO none_prepared;
SELECT lists('8 hours') NOT LIKE '%prepared%' AS none;
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error($$SELECT topk.prepare_step('prep')$$);
ROLLBACK;
SELECT t.error($$SELECT topk.prepare_step('no such')$$), t.error($$SELECT topk.set_prepared_spans('no such', '{}')$$);
DROP ROLE regress_topk_policed;
