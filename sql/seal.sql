-- topk.seal: the frontier follows the least watermark, and a sealed hour never changes. Idle advances, holds, rights.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = notice;
SELECT topk.create_counter();
CREATE FUNCTION frontier() RETURNS timestamptz LANGUAGE sql AS $$ SELECT sealed_through FROM topk.counter WHERE name = 'video_views' $$;
-- A flush of what moves a partition's watermark only, and one record.
CREATE FUNCTION reach(topic text, partition int, epoch bigint, from_offset bigint, watermark timestamptz) RETURNS timestamptz LANGUAGE sql AS
    $$ SELECT topk.flush('video_views', topic, t.deltas(), NULL, NULL, ARRAY[t.advance(partition, epoch, from_offset, from_offset + 1, watermark)]) $$;
-- An idle advance.
CREATE FUNCTION idle(partition int, epoch bigint, next_offset bigint, watermark timestamptz) RETURNS topk.flush_progress LANGUAGE sql AS
    $$ SELECT ROW(partition, epoch, next_offset, next_offset, NULL, NULL, NULL, watermark, 0, 0, 0, 0)::topk.flush_progress $$;

-- Without partitions nothing is sealed, nor while one of them is at -infinity.
CALL topk.seal();
SELECT frontier();
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0,1}', '{0,0}', '{100,100}');
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-31 21:00Z', t.entry('a', 1)), t.hour('2020-01-31 22:00Z', t.entry('a', 2)), t.hour('2020-01-31 23:00Z', t.entry('a', 3)), t.hour('2020-02-01 00:00Z', t.entry('a', 4), t.entry('b', 1))),
    NULL, NULL, ARRAY[t.advance(0, 1, 0, 10, '2020-02-01 00:30Z')]);
CALL topk.seal();
SELECT frontier();
-- The least watermark less the lateness, rounded down to an hour: a second short, then there.
SELECT reach('events', 1, 1, 0, '2020-01-31 22:00:59.999999Z');
CALL topk.seal('video_views');
SELECT frontier();
SELECT reach('events', 1, 1, 1, '2020-01-31 22:01Z');
CALL topk.seal();
SELECT frontier(), topk.seal_step('video_views');
SELECT * FROM topk.time_window WHERE counter = 'video_views' AND window_end > '2020-01-31 21:00Z' AND window_start < '2020-02-01 01:00Z' ORDER BY array_position('{hour,day,month,all_time}', span), window_start;

-- A sealed hour never changes: its list is compared after every attempt.
CREATE TABLE sealed_list AS SELECT * FROM video_views_hour WHERE window_start < frontier();
CREATE FUNCTION changed() RETURNS bigint LANGUAGE sql AS
    $$ SELECT count(*) FROM (SELECT * FROM video_views_hour WHERE window_start < '2020-01-31 22:00Z') now FULL JOIN sealed_list s USING (window_start, video_id) WHERE now.views IS DISTINCT FROM s.views $$;
CREATE FUNCTION attempt(topic text, partition int, epoch bigint, from_offset bigint, deltas bytea DEFAULT t.deltas(t.hour('2020-01-31 21:00Z', t.entry('a', 1000)))) RETURNS text LANGUAGE sql AS
    $$ SELECT t.error(format('SELECT topk.flush(%L, %L, %L, NULL, NULL, ARRAY[t.advance(%s, %s, %s, %s)])', 'video_views', topic, deltas, partition, epoch, from_offset, from_offset + 1)) $$;
SELECT attempt('events', 0, 1, 10);
SELECT split_part(attempt('events', 0, 1, 10, t.deltas(t.hour('2020-01-31 21:00Z', t.entry('new', 1)), t.hour('2020-01-31 23:00Z', t.entry('a', 1000)))), E'\n', 1);
-- where there was no view at all, nor a day partition
SELECT split_part(attempt('events', 0, 1, 10, t.deltas(t.hour('2020-01-31 03:00Z', t.entry('a', 1)))), E'\n', 1);
SELECT split_part(attempt('events', 0, 1, 10, t.deltas(t.hour('2019-06-01 03:00Z', t.entry('a', 1)))), E'\n', 1);
-- Late views go beside it, into the day and the month while they are open.
SELECT topk.flush('video_views', 'events', t.deltas(), ARRAY[ROW('2020-01-31 21:00Z', 'late', 5, 2)]::topk.flush_late[], NULL, ARRAY[ROW(0, 1, 10, 12, 11, 1, 1, NULL, 0, 2, 0, 0)::topk.flush_progress]);
SELECT changed(), ARRAY(SELECT video_id || ' ' || views FROM topk('day', 10, '2020-01-31 21:00Z')) AS day, ARRAY(SELECT video_id || ' ' || views FROM topk('hour', 10, '2020-01-31 21:00Z')) AS hour;
-- Reading again from the start, also by another group, in another topic, and from a partition that appeared later
SELECT topk.reset_progress('video_views', 'events', 0, 0, 'read it all again');
SELECT partition, status, epoch, next_offset, sealed_through FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0}', '{0}', '{100}');
SELECT split_part(attempt('events', 0, 3, 0), E'\n', 1), changed();
SELECT partition, status, epoch FROM topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 2, '{0}', '{0}', '{100}', take_over => true);
SELECT split_part(attempt('events', 0, 4, 0), E'\n', 1), changed();
SELECT partition, status, epoch FROM topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 2, '{0}', '{0}', '{100}', '{4}');
SELECT split_part(attempt('events', 0, 4, 0), E'\n', 1), changed();
SELECT partition, status, next_offset, watermark FROM topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 3, '{2}', '{0}', '{100}');
SELECT split_part(attempt('events', 2, 1, 0), E'\n', 1), changed();
SELECT partition, status, next_offset FROM topk.claim('video_views', 'second', 'cluster', 'rival', 'member', 1, '{0}', '{0}', '{100}');
SELECT split_part(attempt('second', 0, 1, 0), E'\n', 1), changed();
-- None of that moves the frontier, and new partitions hold it where it is, whatever their topic.
CALL topk.seal();
SELECT frontier();
SELECT reach('events', 0, 4, 0, '2020-01-01Z'), reach('events', 1, 1, 2, '2020-02-01 00:30Z'), reach('events', 2, 1, 0, '2020-02-01 00:30Z');
SELECT topic, partition, watermark FROM topk.kafka_progress ORDER BY 1, 2;
CALL topk.seal();
SELECT frontier();
SELECT reach('second', 0, 1, 0, '2020-01-15Z');
CALL topk.seal();
SELECT frontier();

-- Held: nothing is sealed until it is resumed. A hold opens nothing. Both are on the record, and once at a time.
SELECT topk.hold_seal(reason => 'backfill of January');
\set VERBOSITY terse
SELECT topk.hold_seal('video_views', 'again');
\set VERBOSITY default
SELECT reach('second', 0, 1, 1, '2020-02-01 00:30Z');
CALL topk.seal();
SELECT frontier(), split_part(attempt('second', 0, 1, 2), E'\n', 1), changed();
SELECT seal_held_at IS NOT NULL AS held FROM topk.counter;
SELECT counter, held_at IS NOT NULL AS dated, held_by = current_user AS by_me, reason, resumed_at, resumed_by FROM topk.seal_hold;
SELECT topk.resume_seal();
SELECT topk.resume_seal();
SELECT frontier(), split_part(attempt('second', 0, 1, 2), E'\n', 1), changed();
CALL topk.seal();
SELECT frontier(), changed();
SELECT topk.hold_seal('video_views', ''), topk.resume_seal('video_views');
SELECT reason, resumed_at > held_at AS over, resumed_by = current_user AS by_me FROM topk.seal_hold ORDER BY held_at;
-- Sealed were the rest of January and with it its month, which late views do not enter any more; all time takes them.
SELECT topk.flush('video_views', 'second', t.deltas(), ARRAY[ROW('2020-01-31 21:00Z', 'later', 1, 1), ROW('2020-02-01 00:00Z', 'later', 1, 1)]::topk.flush_late[], NULL, ARRAY[ROW(0, 1, 2, 4, 3, 1, 1, NULL, 0, 2, 0, 0)::topk.flush_progress]);
SELECT * FROM video_views_late ORDER BY span, window_start, video_id;
SELECT span, window_start, window_end, sealed, rolled_up, revision FROM topk.time_window WHERE span <> 'hour' ORDER BY array_position('{day,month,all_time}', span), window_start;
-- In a transaction block sealing is undone with it.
BEGIN;
SELECT reach('events', 0, 4, 1, '2020-02-01 02:30Z'), reach('events', 1, 1, 3, '2020-02-01 02:30Z'), reach('events', 2, 1, 1, '2020-02-01 02:30Z'), reach('second', 0, 1, 4, '2020-02-01 02:30Z');
CALL topk.seal();
SELECT frontier();
ROLLBACK;
SELECT frontier();

-- An idle advance moves the watermark, by the clock and no further than the silence allows; offsets, books and flushed_at stay.
CREATE VIEW moved AS SELECT partition, next_offset, counted, watermark, visible_after IS NOT NULL AS seen, clock_advanced_at IS NOT NULL AS by_clock FROM topk.kafka_progress WHERE topic = 'events' ORDER BY partition;
CREATE TABLE before AS SELECT partition, flushed_at, visible_after FROM topk.kafka_progress WHERE topic = 'events';
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[idle(0, 4, 1, '2020-02-01 03:30Z'), t.advance(1, 1, 3, 4, '2020-02-01 02:30Z'), idle(2, 1, 1, '2020-02-01 00:10Z')]);
SELECT * FROM moved;
SELECT partition, p.flushed_at = b.flushed_at AS same_flush, p.visible_after = b.visible_after AS same_freshness FROM topk.kafka_progress p JOIN before b USING (partition) WHERE p.topic = 'events' ORDER BY 1;
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[idle(0, 4, 1, '-infinity'), idle(1, 1, 4, '9999-01-01Z'), idle(2, 1, 1, clock_timestamp())]);
SELECT partition, clock_advanced_at - watermark BETWEEN '60 s' AND '61 s' AS a_minute_behind FROM topk.kafka_progress WHERE topic = 'events' ORDER BY 1;
-- Nor do records take a watermark further ahead of the server's clock than events may be: a consumer whose clock is wrong seals no future hours.
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(1, 1, 4, 5, '9999-01-01Z')]);
SELECT flushed_at + '5 min' = watermark AS at_the_skew, visible_after FROM topk.kafka_progress WHERE topic = 'events' AND partition = 1;
-- It is compared as ever, and a watermark alone with offsets or books is none.
SELECT split_part(t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[idle(0, 3, 1, '2020-02-01 03:30Z')])$$), E'\n', 1);
SELECT split_part(t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[idle(0, 4, 2, '2020-02-01 03:30Z')])$$), E'\n', 1);
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[ROW(0, 4, 1, 2, NULL, NULL, NULL, '2020-02-01 04:30Z', 0, 0, 0, 1)::topk.flush_progress]);
SELECT partition, next_offset, watermark, clock_advanced_at < flushed_at AS not_by_clock FROM topk.kafka_progress WHERE topic = 'events' AND partition = 0;
-- A reset keeps it.
SELECT topk.reset_progress('video_views', 'events', 0, 0, 'once more');
SELECT p.watermark, p.clock_advanced_at = h.clock_advanced_at AS kept FROM topk.kafka_progress p JOIN topk.progress_history h USING (counter, topic, partition) WHERE p.topic = 'events' AND p.partition = 0 ORDER BY h.reset_at DESC LIMIT 1;
SELECT changed();

-- 25001, 42501, 42704, 22023.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error('CALL topk.seal()');
ROLLBACK;
CREATE ROLE regress_topk_admin; CREATE ROLE regress_topk_ingester; CREATE ROLE regress_topk_nobody;
SELECT topk.grant_access('regress_topk_admin', 'admin'), topk.grant_access('regress_topk_ingester', 'ingest'), topk.grant_access('regress_topk_ingester', 'read');
CREATE FUNCTION tries(role text) RETURNS TABLE (statement text, outcome text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    FOREACH statement IN ARRAY ARRAY['CALL topk.seal()', 'SELECT topk.seal_step(''video_views'')', 'SELECT topk.hold_seal()', 'SELECT topk.resume_seal()', 'SELECT topk.window_end(''video_views'', ''day'', ''2020-01-31Z'')',
        'UPDATE topk.counter_data SET sealed_through = now()', 'INSERT INTO topk.window_revision_data VALUES (''video_views'', ''hour'', now(), 1)', 'DELETE FROM topk.seal_hold'] LOOP
        outcome := split_part(t.error(statement), E'\n', 1);
        RETURN NEXT;
    END LOOP;
    outcome := (SELECT count(*) FROM topk.seal_hold) || ', ' || (SELECT count(*) FROM topk.time_window);
    statement := 'rows of seal_hold, time_window';
    RETURN NEXT;
    RESET ROLE;
END $$;
SELECT * FROM tries('regress_topk_nobody');
SELECT * FROM tries('regress_topk_ingester');
SELECT * FROM tries('regress_topk_admin');
SELECT t.error('CALL topk.seal(''no such'')');
SELECT t.error('CALL topk.seal(NULL)');
SELECT t.error('SELECT topk.hold_seal(''no such'')');
SELECT t.error('SELECT topk.resume_seal(NULL)');
SELECT t.error('SELECT topk.window_end(''video_views'', ''all_time'', now())');
SELECT t.error('SELECT topk.window_end(''video_views'', ''day'', ''infinity'')');
SELECT t.error('SELECT topk.window_end(''no such'', ''day'', now())');

SET client_min_messages = warning;
-- A counter whose hour table was dropped by hand does not keep the windows of others from its admin.
SELECT topk.create_counter('torn');
SELECT topk.correct('torn', '2020-01-01Z', 'a', 1, 'makes a day'), topk.grant_access('regress_topk_admin', 'admin', 'torn');
DROP TABLE torn_hour CASCADE;
SELECT counter, count(*) > 0 AS windows FROM topk.time_window GROUP BY 1;
SELECT topk.drop_counter('torn');
-- The greatest lateness and the least watermark.
SELECT topk.create_counter('patient', lateness => '1000 years');
SELECT partition FROM topk.claim('patient', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{100}');
SELECT topk.flush('patient', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1, '0001-01-01Z')]);
SELECT topk.seal_step('patient'), (SELECT holds_seal_back LIKE 'reading behind%' FROM topk.status('patient')) AS behind;
SELECT topk.drop_counter('patient');

-- Dropped with the counter.
SELECT topk.drop_counter('video_views');
SELECT count(*) FROM topk.seal_hold_data;
DROP FUNCTION frontier, reach, idle, changed, attempt, tries;
DROP TABLE sealed_list, before;
DROP VIEW moved;
DROP ROLE regress_topk_admin, regress_topk_ingester, regress_topk_nobody;
