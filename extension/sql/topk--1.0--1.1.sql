\echo Use "ALTER EXTENSION topk UPDATE TO '1.1'" to load this file. \quit

-- What version 1.1 adds: roll-ups with their markers, leaderboards, retention, and the schedule. Counters that were made before
-- get what they lack at their first roll-up. This script is never edited once released.

-- ---------------------------------------------------------------------------------------------------------------------
-- Roll-up: how far the sealed hours, in order, have been added to the days, and the sealed days to months and all time
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TABLE topk.roll_up_marker (
    counter text COLLATE "C" NOT NULL,
    span text COLLATE "C" NOT NULL CHECK (span IN ('day','month','all_time')),
    window_start timestamptz NOT NULL DEFAULT '-infinity',
    video_id text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (counter, span)
) WITH (fillfactor = 40);
COMMENT ON TABLE topk.roll_up_marker IS 'how far the roll-up to days, months and all time has come; moved in the transaction of the sums';
COMMENT ON COLUMN topk.roll_up_marker.span IS 'day: hours were added to the day roll-up; month, all_time: rows of the day roll-up were added to these';
COMMENT ON COLUMN topk.roll_up_marker.video_id IS 'rows with (window_start, video_id) up to this are in the roll-up, and those beyond are not';
GRANT SELECT ON topk.roll_up_marker TO PUBLIC;

CREATE FUNCTION topk.add_views(stored bigint, added bigint, video_id text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'topk_add_views' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION topk.add_views IS 'part of topk.roll_up_step: the sum, or 22003 with the video''s name';

CREATE FUNCTION topk.roll_up_step(counter text, max_rows int DEFAULT 200000) RETURNS bigint
    AS 'MODULE_PATHNAME', 'topk_roll_up_step' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.roll_up_step IS 'part of topk.roll_up: adds at most max_rows rows, or two seconds'' worth, to one roll-up, and returns how many; NULL when nothing is left to do; for the counter''s owner and admins';

CREATE PROCEDURE topk.roll_up(counter text DEFAULT 'video_views') LANGUAGE plpgsql
AS $roll_up$
BEGIN
    -- Each step commits: it holds its locks, and its work can be lost, for two seconds at most.
    WHILE topk.roll_up_step(roll_up.counter) IS NOT NULL LOOP
        COMMIT;
    END LOOP;
END
$roll_up$;
COMMENT ON PROCEDURE topk.roll_up IS 'adds sealed hours to their days, and sealed days to their months and all time, in steps that it commits; for the counter''s owner and admins';

-- Functions that know of roll-ups, under names that the library of 1.0 does not have: sessions that loaded it before the new one was installed
-- would count what is rolled up twice, or leave markers behind. They get an error from now on.
CREATE OR REPLACE FUNCTION topk.top(span text, k int DEFAULT 10, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (rank bigint, video_id text, views bigint)
    AS 'MODULE_PATHNAME', 'topk_topk_1_1' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION @extschema@.topk(span text, k int DEFAULT 10, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (rank bigint, video_id text, views bigint)
    AS 'MODULE_PATHNAME', 'topk_topk_1_1' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.between(since timestamptz, until timestamptz, k int DEFAULT 10, counter text DEFAULT 'video_views')
    RETURNS TABLE (rank bigint, video_id text, views bigint)
    AS 'MODULE_PATHNAME', 'topk_between_1_1' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.explain(span text, k int DEFAULT 10, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (list text, estimated_rows bigint, rows_read bigint, lookups bigint, last_views bigint, ended text)
    AS 'MODULE_PATHNAME', 'topk_explain_1_1' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 30
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.register_counter(name text, hour_table regclass, time_zone text, lateness interval, max_clock_skew interval, max_age interval, idle_timeout interval)
    RETURNS void
    AS 'MODULE_PATHNAME', 'topk_register_counter_1_1' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.drop_counter(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_drop_counter_1_1' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.correct(counter text, hour timestamptz, video_id text, delta bigint, reason text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'topk_correct_1_1' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.audit(counter text DEFAULT 'video_views')
    RETURNS TABLE (check_name text, subject text, expected numeric, found numeric, ok boolean, detail text)
    AS 'MODULE_PATHNAME', 'topk_audit_1_1' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000 ROWS 20
    SET search_path = pg_catalog, pg_temp;

-- Beside the hour table, whatever the tables are called by now. What is not rolled up is joined to the hours of the map, few and in
-- order, so that a video is looked up by primary keys; conditions on window_start itself prune partitions. A day is of the first month
-- that its hours name (they could name two if time zone data changed amid it).
CREATE FUNCTION topk.create_views(name text, hour_table regclass, late_table regclass, day_rollup regclass, month_rollup regclass, all_time_rollup regclass,
                                  replacing boolean DEFAULT false)
    RETURNS void LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $create_views$
DECLARE
    home oid := (SELECT c.relnamespace FROM pg_class c WHERE c.oid = hour_table);
    at_marker text := format('FROM topk.roll_up_marker k WHERE k.counter = %L AND k.span = ', name);
    grain text;
    source text;
    at_window text[];  -- where the markers of hours and of days are
    at_video text[];
    hours text;
    days text;
    kept text;  -- Of an expired day rows are deleted one by one: none of them is there from the moment the frontier moves.
    made text;
    existing pg_class;
BEGIN
    FOREACH grain IN ARRAY '{day,month,all_time}'::text[] LOOP
        at_window := '{}'; at_video := '{}';
        FOREACH source IN ARRAY ARRAY['day', grain] LOOP
            at_window := at_window || format('coalesce((SELECT k.window_start %s%L), %L)', at_marker, source, '-infinity');
            at_video := at_video || format('coalesce((SELECT k.video_id %s%L), %L)', at_marker, source, '');
        END LOOP;
        hours := format('SELECT %s, h.video_id, h.views FROM topk.hour_map m JOIN %s h ON h.window_start = m.hour_start
            WHERE m.counter = %L AND m.hour_start >= %4$s AND h.window_start >= %4$s AND (h.window_start > %4$s OR h.video_id > %5$s)',
            CASE grain WHEN 'day' THEN 'm.day_start' WHEN 'month' THEN 'm.month_start' ELSE $sql$'-infinity'::timestamptz$sql$ END,
            hour_table, name, at_window[1], at_video[1]);
        days := format('SELECT %s, r.video_id, r.views FROM (SELECT m.day_start, min(m.month_start) AS month_start FROM topk.hour_map m
                WHERE m.counter = %L AND m.hour_start >= %3$s GROUP BY m.day_start) d JOIN %4$s r ON r.window_start = d.day_start
            WHERE r.window_start >= %3$s AND (r.window_start > %3$s OR r.video_id > %5$s)',
            CASE grain WHEN 'month' THEN 'd.month_start' ELSE $sql$'-infinity'::timestamptz$sql$ END, name, at_window[2], day_rollup, at_video[2]);
        kept := CASE grain WHEN 'day' THEN
            format('window_start >= coalesce((SELECT c.days_expired_through FROM topk.counter_data c WHERE c.name = %L), %L)', name, '-infinity') END;
        made := format('%s_%s', name, grain);
        SELECT * INTO existing FROM pg_class c WHERE c.relnamespace = home AND c.relname = made::name AND c.relkind = 'v';
        made := format('%I.%I', (SELECT n.nspname FROM pg_namespace n WHERE n.oid = home), made);
        EXECUTE format($sql$CREATE %s VIEW %s %s AS SELECT part.window_start, part.video_id, sum(part.views)::int8 AS views FROM (
            SELECT window_start, video_id, views FROM %s %s
            UNION ALL %s
            UNION ALL SELECT window_start, video_id, views FROM %s WHERE span = %L %s) part
            GROUP BY part.window_start, part.video_id$sql$,
            CASE WHEN replacing THEN 'OR REPLACE' END, made, 'WITH (' || array_to_string(existing.reloptions, ', ') || ')',
            CASE grain WHEN 'day' THEN day_rollup WHEN 'month' THEN month_rollup ELSE all_time_rollup END,
            'WHERE ' || kept, hours || CASE grain WHEN 'day' THEN '' ELSE ' UNION ALL ' || days END, late_table, grain, 'AND ' || kept);
        IF existing.oid IS NULL THEN
            EXECUTE format('COMMENT ON VIEW %s IS %L', made,
                format('exact, live views of counter %I by %s and video: roll-up, hours not rolled up yet, and late views', name, replace(grain, '_', ' ')));
        END IF;
    END LOOP;
END
$create_views$;
COMMENT ON FUNCTION topk.create_views IS 'part of topk.create_counter: makes the views of day, month and all time; replacing those that an older version made takes over what is there';

-- Runs with the caller's rights and search_path: the tables go to its current_schema() and belong to it.
CREATE OR REPLACE FUNCTION topk.create_counter(name text DEFAULT 'video_views', time_zone text DEFAULT 'UTC', lateness interval DEFAULT '60 s',
                                    max_clock_skew interval DEFAULT '5 min', max_age interval DEFAULT '400 days',
                                    idle_timeout interval DEFAULT '60 s')
    RETURNS void LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS $create_counter$
DECLARE
    home text := pg_catalog.current_schema();
    hours text := pg_catalog.concat(name, '_hour');
    late text := pg_catalog.concat(name, '_late');
    grain text;
BEGIN
    PERFORM topk.prepare_counter(name, time_zone, lateness, max_clock_skew, max_age, idle_timeout);
    IF home IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_schema_name', MESSAGE = 'no schema has been selected to create the counter in',
            HINT = 'Set search_path to a schema in which you may create tables.';
    END IF;

    EXECUTE pg_catalog.format('CREATE TABLE %I.%I (window_start pg_catalog.timestamptz NOT NULL, video_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
        views pg_catalog.int8 NOT NULL CHECK (views OPERATOR(pg_catalog.>) 0), PRIMARY KEY (window_start, video_id)) PARTITION BY RANGE (window_start)',
        home, hours);
    EXECUTE pg_catalog.format('CREATE INDEX ON %I.%I USING topk (window_start, views DESC, video_id)', home, hours);
    EXECUTE pg_catalog.format('COMMENT ON TABLE %I.%I IS %L', home, hours,
        pg_catalog.format('views of counter %I by hour and video; one partition a local day', name));

    EXECUTE pg_catalog.format('CREATE TABLE %I.%I (span pg_catalog.text COLLATE pg_catalog."C" NOT NULL CHECK (span OPERATOR(pg_catalog.=) ANY (''{day,month,all_time}''::pg_catalog.text[])),
        window_start pg_catalog.timestamptz NOT NULL, video_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
        views pg_catalog.int8 NOT NULL CHECK (views OPERATOR(pg_catalog.>) 0), PRIMARY KEY (span, window_start, video_id)) WITH (fillfactor = 70)',
        home, late);
    EXECUTE pg_catalog.format('CREATE INDEX ON %I.%I USING topk (span, window_start, views DESC, video_id)', home, late);
    EXECUTE pg_catalog.format('COMMENT ON TABLE %I.%I IS %L', home, late,
        pg_catalog.format('views of counter %I that came too late for their hour, kept for the day, month and all time that still took them', name));

    FOREACH grain IN ARRAY '{day,month,all_time}'::pg_catalog.text[] LOOP
        EXECUTE pg_catalog.format('CREATE TABLE %I.%I (window_start pg_catalog.timestamptz NOT NULL, video_id pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
            views pg_catalog.int8 NOT NULL CHECK (views OPERATOR(pg_catalog.>) 0), PRIMARY KEY (window_start, video_id)) WITH (fillfactor = 70)',
            home, pg_catalog.format('%s_%s_rollup', name, grain));
        EXECUTE pg_catalog.format('CREATE INDEX ON %I.%I USING topk (window_start, views DESC, video_id)',
            home, pg_catalog.format('%s_%s_rollup', name, grain));
        EXECUTE pg_catalog.format('COMMENT ON TABLE %I.%I IS %L', home, pg_catalog.format('%s_%s_rollup', name, grain),
            pg_catalog.format('views of counter %I by video, added up from sealed hours (%s)', name, grain));
    END LOOP;

    PERFORM topk.create_views(name, pg_catalog.format('%I.%I', home, hours)::pg_catalog.regclass, pg_catalog.format('%I.%I', home, late)::pg_catalog.regclass,
        pg_catalog.format('%I.%I', home, pg_catalog.format('%s_day_rollup', name))::pg_catalog.regclass,
        pg_catalog.format('%I.%I', home, pg_catalog.format('%s_month_rollup', name))::pg_catalog.regclass,
        pg_catalog.format('%I.%I', home, pg_catalog.format('%s_all_time_rollup', name))::pg_catalog.regclass);

    PERFORM topk.register_counter(name, pg_catalog.format('%I.%I', home, hours)::pg_catalog.regclass,
                                  time_zone, lateness, max_clock_skew, max_age, idle_timeout);
END
$create_counter$;

CREATE OR REPLACE VIEW topk.time_window WITH (security_barrier) AS
    SELECT c.name AS counter, w.span, w.window_start, w.window_end, w.window_end <= c.sealed_through AS sealed,
        w.is_in AND w.window_end <= c.sealed_through AS rolled_up, coalesce(r.revision, 0) AS revision
    -- An admin's view of one whose table was dropped by hand must not keep the others from sight: topk.window_end refuses it, and is not to be
    -- asked (OFFSET 0) before the table was looked for.
    FROM (SELECT k.name, k.sealed_through FROM topk.counter k WHERE EXISTS (SELECT FROM pg_catalog.pg_class t WHERE t.oid = k.hour_table) OFFSET 0) c
    LEFT JOIN topk.roll_up_marker d ON d.counter = c.name AND d.span = 'day'
    LEFT JOIN topk.roll_up_marker m ON m.counter = c.name AND m.span = 'month'
    LEFT JOIN topk.roll_up_marker a ON a.counter = c.name AND a.span = 'all_time'
    CROSS JOIN LATERAL (
        SELECT 'hour' COLLATE "C" AS span, h.hour_start AS window_start, h.hour_end AS window_end, coalesce(h.hour_start < d.window_start, false) AS is_in
        FROM topk.hour_map h WHERE h.counter = c.name
        UNION ALL SELECT 'day', h.day_start, topk.window_end(c.name, 'day', max(h.hour_start)), coalesce(h.day_start < least(m.window_start, a.window_start), false)
        FROM topk.hour_map h WHERE h.counter = c.name GROUP BY h.day_start
        UNION ALL SELECT 'month', h.month_start, topk.window_end(c.name, 'month', max(h.hour_start)), coalesce(max(h.day_start) < m.window_start, false)
        FROM topk.hour_map h WHERE h.counter = c.name GROUP BY h.month_start
        UNION ALL SELECT 'all_time', '-infinity', 'infinity', false) w
    LEFT JOIN topk.window_revision_data r ON r.counter = c.name AND r.span = w.span AND r.window_start = w.window_start;

-- ---------------------------------------------------------------------------------------------------------------------
-- Retention
-- ---------------------------------------------------------------------------------------------------------------------

ALTER TABLE topk.counter_data
    ADD COLUMN hour_retention interval NOT NULL DEFAULT '7 days',
    ADD COLUMN day_retention interval NOT NULL DEFAULT '90 days',
    ADD COLUMN hour_list_retention interval NOT NULL DEFAULT '30 days',
    ADD COLUMN late_retention interval NOT NULL DEFAULT '30 days',
    ADD COLUMN hours_expired_through timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN days_expired_through timestamptz NOT NULL DEFAULT '-infinity';
COMMENT ON COLUMN topk.counter_data.hour_retention IS 'how long rows of hours are kept at least; never dropped before they are rolled up, and as long again where hours have no final list';
COMMENT ON COLUMN topk.counter_data.day_retention IS 'how long rows of the day roll-up are kept at least; never deleted before they are in month and all time';
COMMENT ON COLUMN topk.counter_data.hour_list_retention IS 'how long final lists of hours are kept in topk.leaderboard; those of days and months stay';
COMMENT ON COLUMN topk.counter_data.late_retention IS 'how long topk.late_views and topk.dead_letter are kept';
COMMENT ON COLUMN topk.counter_data.hours_expired_through IS 'hours that begin before it may have lost their rows';
COMMENT ON COLUMN topk.counter_data.days_expired_through IS 'days that begin before it may have lost their rows in the day roll-up';
-- The views of days, which read with their owner's rights, leave out what expired.
GRANT SELECT (name, days_expired_through) ON topk.counter_data TO PUBLIC;

-- A dump may be restored where transactions are numbered otherwise: an id that is yet to come there says nothing.
ALTER TABLE topk.counter_data ADD COLUMN hours_expired_by xid8, ADD COLUMN hours_expired_at timestamptz;
COMMENT ON COLUMN topk.counter_data.hours_expired_by IS 'the transaction that moved hours_expired_through: partitions are dropped when no snapshot is older';
COMMENT ON COLUMN topk.counter_data.hours_expired_at IS 'when that was';

ALTER TABLE topk.counter_data ADD COLUMN drop_trouble text, ADD COLUMN drop_trouble_told_at timestamptz, ADD COLUMN drop_refused_at timestamptz;
COMMENT ON COLUMN topk.counter_data.drop_trouble IS 'why a partition that expired was not dropped the last time that this was told';
COMMENT ON COLUMN topk.counter_data.drop_trouble_told_at IS 'when that was: the same is told again after an hour';
COMMENT ON COLUMN topk.counter_data.drop_refused_at IS 'when somebody kept a table that was to be dropped: maintenance tries again after a minute';

CREATE OR REPLACE VIEW topk.counter WITH (security_barrier) AS
    SELECT c.name, c.hour_table, c.time_zone, c.lateness, c.max_clock_skew, c.max_age, c.idle_timeout, c.sealed_through,
        c.seal_held_at, c.created_at, c.hour_retention, c.day_retention, c.hour_list_retention, c.late_retention,
        c.hours_expired_through, c.days_expired_through, c.hours_expired_at, c.late_table, c.day_rollup, c.month_rollup, c.all_time_rollup
    FROM topk.counter_data c
    WHERE has_table_privilege(c.hour_table, 'SELECT')
       OR EXISTS (SELECT FROM topk.access_data a
                  WHERE a.counter = c.name AND a.privilege = 'admin' AND pg_has_role(a.role, 'USAGE'));
COMMENT ON VIEW topk.counter IS 'the counters the current user may read: their tables, time zones, limits, frontiers, and how long what is kept';

-- What was deleted for its age, so that the books still add up.
CREATE TABLE topk.expired_late_data (
    counter text COLLATE "C" NOT NULL,
    hour_start timestamptz NOT NULL,
    views bigint NOT NULL,
    records bigint NOT NULL,
    PRIMARY KEY (counter, hour_start)
);
COMMENT ON TABLE topk.expired_late_data IS 'sums of the late views that expired, by hour; read it through topk.expired_late';

CREATE TABLE topk.expired_dead_data (
    counter text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition int NOT NULL,
    letters bigint NOT NULL,
    PRIMARY KEY (counter, topic, partition)
);
COMMENT ON TABLE topk.expired_dead_data IS 'how many dead letters expired, by partition; read it through topk.expired_dead';

CREATE VIEW topk.expired_late WITH (security_barrier) AS
    SELECT e.* FROM topk.expired_late_data e JOIN topk.counter_in_full c ON c.name = e.counter;
COMMENT ON VIEW topk.expired_late IS 'sums of the late views that are no longer in topk.late_views, by hour';

CREATE VIEW topk.expired_dead WITH (security_barrier) AS
    SELECT e.* FROM topk.expired_dead_data e JOIN topk.counter c ON c.name = e.counter;
COMMENT ON VIEW topk.expired_dead IS 'how many dead letters are no longer in topk.dead_letter, by partition';
GRANT SELECT ON topk.expired_late, topk.expired_dead TO PUBLIC;

-- Of first_seen, which no flush changes: updates of late views stay HOT.
CREATE INDEX late_views_data_first_seen_idx ON topk.late_views_data (counter, first_seen);
COMMENT ON INDEX topk.late_views_data_first_seen_idx IS 'finds late views that may have expired';
CREATE INDEX dead_letter_data_recorded_at_idx ON topk.dead_letter_data (counter, recorded_at);
COMMENT ON INDEX topk.dead_letter_data_recorded_at_idx IS 'finds dead letters that have expired';

CREATE FUNCTION topk.set_retention(counter text, hours interval DEFAULT NULL, days interval DEFAULT NULL,
                                   hour_lists interval DEFAULT NULL, late interval DEFAULT NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_set_retention' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.set_retention IS 'how long rows of hours, of the day roll-up, final lists of hours, late views and dead letters are kept; NULL: as before; for the counter''s owner and admins';

CREATE FUNCTION topk.advance_expiry(counter text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'topk_advance_expiry' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.advance_expiry IS 'part of topk.expire_step: moves hours_expired_through and days_expired_through over what is old enough and rolled up; whether one moved';

CREATE FUNCTION topk.delete_expired(counter text) RETURNS bigint
    AS 'MODULE_PATHNAME', 'topk_delete_expired' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.delete_expired IS 'part of topk.expire_step: deletes some rows that expired; how many';

CREATE FUNCTION topk.drop_expired_hours(counter text, lock_timeout interval, skipped int DEFAULT 0) RETURNS boolean
    AS 'MODULE_PATHNAME', 'topk_drop_expired_hours' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.drop_expired_hours IS 'part of topk.expire_step: drops the oldest partition but "skipped" whose hours expired, once no snapshot needs it; whether it did; 55P03, or 55006 of the partition itself, after lock_timeout; NULL: 100 ms, and not within a minute of such an error';

CREATE FUNCTION topk.note_expiry_trouble(counter text, trouble text, by_lock boolean) RETURNS boolean
    AS 'MODULE_PATHNAME', 'topk_note_expiry_trouble' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.note_expiry_trouble IS 'part of topk.expire_step: notes why a partition was not dropped, and says whether to tell: once an hour, or when it is something else';

-- The partition comes last: who waits for its lock has others behind him, and should do so once in a run. One that cannot be dropped
-- keeps none of those behind it.
CREATE FUNCTION topk.expire_step(counter text, lock_timeout interval DEFAULT '100 ms') RETURNS bigint
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $expire_step$
DECLARE
    deleted bigint;
    dropped boolean := false;
    skipped int := 0;
    kept int := 0;  -- by who uses them
    state text;
    message text;
    detail text;
    hint text;
    trouble text;
BEGIN
    IF topk.advance_expiry(counter) THEN
        RETURN 1;  -- to be committed before anything is taken away
    END IF;
    deleted := topk.delete_expired(counter);
    IF deleted > 0 THEN
        RETURN deleted;
    END IF;
    LOOP
        BEGIN
            dropped := topk.drop_expired_hours(counter, lock_timeout, skipped);
            EXIT;
        EXCEPTION WHEN lock_not_available OR dependent_objects_still_exist OR object_in_use THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            trouble := coalesce(trouble, concat_ws(' ', message || '.', nullif(detail, ''), nullif(hint, '')));
            skipped := skipped + 1;
            kept := kept + (state <> '2BP01')::int;
            -- Every table that is waited for has its own readers wait.
            EXIT WHEN state = '55P03' OR kept = 2;
        END;
    END LOOP;
    IF trouble IS NOT NULL AND topk.note_expiry_trouble(counter, trouble, kept > 0) THEN
        message := format('expired hours of counter "%s" stay for now: %s', counter, trouble);
        IF EXISTS (SELECT FROM topk.counter c WHERE c.name = expire_step.counter AND c.hours_expired_at < now() - interval '1 hour') THEN
            RAISE WARNING '%', message;
        ELSE
            RAISE NOTICE '%', message;
        END IF;
    END IF;
    RETURN dropped::int;
END
$expire_step$;
COMMENT ON FUNCTION topk.expire_step IS 'part of topk.expire: one bounded step, to be committed before the next; 0: nothing to do, or what there is has to wait; lock_timeout NULL: 100 ms, but none within a minute of one in vain; for the counter''s owner and admins';

-- Procedures have no SET clause, so that they may commit: all their names are qualified.
CREATE PROCEDURE topk.expire(counter text DEFAULT 'video_views') LANGUAGE plpgsql
AS $expire$
DECLARE
    done bigint;
BEGIN
    LOOP
        done := topk.expire_step(expire.counter);
        COMMIT;
        EXIT WHEN done OPERATOR(pg_catalog.=) 0;
    END LOOP;
END
$expire$;
COMMENT ON PROCEDURE topk.expire IS 'takes away what is older than topk.set_retention keeps it, in steps that it commits; for the counter''s owner and admins';

-- ---------------------------------------------------------------------------------------------------------------------
-- Prepared sums: the sealed part of long trailing spans as one sorted list
-- ---------------------------------------------------------------------------------------------------------------------

ALTER TABLE topk.counter_data ADD COLUMN prepared_spans text[] NOT NULL DEFAULT '{24 hours,7 days}';
COMMENT ON COLUMN topk.counter_data.prepared_spans IS 'trailing spans whose sealed part topk.prepare_step prepares; set by topk.set_prepared_spans';

-- A list is read whole, so it is one row. It is made anew when it is gone: no dump has it.
CREATE TABLE topk.prepared_sum_data (
    counter text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL CHECK (until > since),
    corrections bigint NOT NULL,
    complete boolean NOT NULL,
    video_ids text[] COLLATE "C" NOT NULL,
    views bigint[] NOT NULL CHECK (cardinality(views) = cardinality(video_ids)),
    prepared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (counter, since, until)
);
COMMENT ON TABLE topk.prepared_sum_data IS 'the greatest sums of ranges of sealed hours, for trailing spans; made by topk.prepare_step, and used while they hold';
COMMENT ON COLUMN topk.prepared_sum_data.corrections IS 'how often the hours had been corrected; the sums do not hold for who sees another number';
COMMENT ON COLUMN topk.prepared_sum_data.complete IS 'no other video has views in these hours';
COMMENT ON COLUMN topk.prepared_sum_data.video_ids IS 'by views descending, then bytewise';

CREATE FUNCTION topk.prepare_step(counter text) RETURNS int
    AS 'MODULE_PATHNAME', 'topk_prepare_step' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.prepare_step IS 'prepares the sums of the sealed hours of one of the counter''s prepared spans, for this hour or the next, and returns 1, or 0 if none was missing; needs ''admin''';

CREATE FUNCTION topk.set_prepared_spans(counter text, spans text[]) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_set_prepared_spans' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.set_prepared_spans IS 'chooses which trailing spans are prepared, such as ''{24 hours,7 days}''; needs ''admin''';

-- ---------------------------------------------------------------------------------------------------------------------
-- Leaderboards
-- ---------------------------------------------------------------------------------------------------------------------

CREATE TABLE topk.leaderboard_window_data (
    counter text COLLATE "C" NOT NULL,
    span text COLLATE "C" NOT NULL CHECK (span IN ('hour','day','month','all_time')),
    window_start timestamptz NOT NULL,
    sealed boolean NOT NULL,
    revision int NOT NULL CHECK (revision >= 0),
    length int NOT NULL CHECK (length BETWEEN 0 AND 1000),
    refreshed_at timestamptz NOT NULL,
    PRIMARY KEY (counter, span, window_start)
) WITH (fillfactor = 70);
COMMENT ON TABLE topk.leaderboard_window_data IS 'the windows that have a list in topk.leaderboard_data';
COMMENT ON COLUMN topk.leaderboard_window_data.sealed IS 'the list is final, but for corrections: the window was sealed in the snapshot that the list was made in';
COMMENT ON COLUMN topk.leaderboard_window_data.revision IS 'of the window, in that snapshot: a later correction makes the list stale';
COMMENT ON COLUMN topk.leaderboard_window_data.length IS 'how many ranks it has, 1000 at most';
COMMENT ON COLUMN topk.leaderboard_window_data.refreshed_at IS 'everything committed by then is in the list';

CREATE TABLE topk.leaderboard_data (
    counter text COLLATE "C" NOT NULL,
    span text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    rank bigint NOT NULL CHECK (rank > 0),
    video_id text COLLATE "C" NOT NULL,
    views bigint NOT NULL,
    PRIMARY KEY (counter, span, window_start, rank)
) WITH (fillfactor = 70);
COMMENT ON TABLE topk.leaderboard_data IS 'the lists of topk.leaderboard_window_data, rank by rank; read it through topk.leaderboard';

-- So that windows whose rows are not there, or not to be had, do not keep the others from their lists, nor fill the log.
CREATE TABLE topk.list_failure_data (
    counter text COLLATE "C" NOT NULL,
    span text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    failed_at timestamptz NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (counter, span, window_start)
);
COMMENT ON TABLE topk.list_failure_data IS 'windows whose list could not be made: tried again after an hour, or a correction; of no use in a dump';

-- For who may read what a list is made of: the hours for those of hours, all tables for the others; owners and admins know all of it. The
-- list of a window that was corrected since is not final, whatever it was when it was made.
CREATE VIEW topk.leaderboard WITH (security_barrier) AS
    WITH reader AS MATERIALIZED (
        SELECT c.name, knows.all OR count(*) FILTER (WHERE may.read) = 5 AS reads_all, knows.all OR coalesce(bool_or(may.read AND t.oid = c.hour_table), false) AS reads_hours
        FROM topk.counter_in_full f JOIN topk.counter_data c ON c.name = f.name
        CROSS JOIN LATERAL (SELECT coalesce(pg_has_role((SELECT o.relowner FROM pg_catalog.pg_class o WHERE o.oid = c.hour_table), 'USAGE'), false)
            OR EXISTS (SELECT FROM topk.access_data a WHERE a.counter = c.name AND a.privilege = 'admin' AND pg_has_role(a.role, 'USAGE')) AS all) knows
        JOIN pg_catalog.pg_class t ON t.oid IN (c.hour_table, c.late_table, c.day_rollup, c.month_rollup, c.all_time_rollup)
        CROSS JOIN LATERAL (SELECT has_schema_privilege(t.relnamespace, 'USAGE') AND has_table_privilege(t.oid, 'SELECT') AS read) may
        GROUP BY c.name, knows.all)
    SELECT l.counter, l.span, l.window_start, l.rank, l.video_id, l.views, w.sealed AND w.revision = coalesce(v.revision, 0) AS sealed, w.revision, w.refreshed_at
    FROM topk.leaderboard_data l
    JOIN topk.leaderboard_window_data w ON w.counter = l.counter AND w.span = l.span AND w.window_start = l.window_start
    JOIN reader r ON r.name = l.counter AND (r.reads_all OR (r.reads_hours AND l.span = 'hour'))
    LEFT JOIN topk.window_revision_data v ON v.counter = l.counter AND v.span = l.span AND v.window_start = l.window_start;
COMMENT ON VIEW topk.leaderboard IS 'the final top 1000 of sealed windows, and the lists of open ones, or of those corrected since, as of their last refresh (sealed is false)';
GRANT SELECT ON topk.leaderboard TO PUBLIC;

CREATE FUNCTION topk.refresh_due(counter text, open_before timestamptz) RETURNS TABLE (span text, at timestamptz)
    AS 'MODULE_PATHNAME', 'topk_refresh_due' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 10
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.refresh_due IS 'part of topk.refresh_step: some of the windows whose list is missing, stale or old, with an instant of each; final lists first';

CREATE FUNCTION topk.refresh_list(counter text, span text, at timestamptz) RETURNS boolean
    AS 'MODULE_PATHNAME', 'topk_refresh_list' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.refresh_list IS 'part of topk.refresh_step: makes the list of the window that contains an instant; false if it is final already, its rows expired, or another session makes lists of the counter';

CREATE FUNCTION topk.refresh_failed(counter text, span text, at timestamptz, message text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_refresh_failed' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.refresh_failed IS 'part of topk.refresh_step: notes that the list of a window could not be made; topk.refresh_due leaves it out for an hour';

CREATE FUNCTION topk.refresh_step(counter text, open_before timestamptz DEFAULT NULL) RETURNS int
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $refresh_step$
DECLARE
    due record;
    done int := 0;
    deadline timestamptz := clock_timestamp() + interval '2 s';
BEGIN
    FOR due IN SELECT d.span, d.at FROM topk.refresh_due(counter, open_before) d LOOP
        BEGIN
            done := done + topk.refresh_list(counter, due.span, due.at)::int;
        EXCEPTION
            WHEN lock_not_available OR deadlock_detected OR disk_full THEN
                RAISE;  -- not for the window's sake: all of it may work the next time
            WHEN OTHERS THEN
                -- Rows that should be there are not, a sum exceeds bigint, an index is broken: the other windows' lists do not wait for that.
                PERFORM topk.refresh_failed(counter, due.span, due.at, SQLERRM);
                done := done + 1;
                RAISE WARNING USING MESSAGE = format('counter "%s" gets no list of %s: %s', counter,
                    CASE due.span WHEN 'all_time' THEN 'all time' ELSE format('the %s of %s', due.span, due.at) END, SQLERRM),
                    HINT = 'It is tried again in an hour, or once something is corrected there.';
        END;
        EXIT WHEN clock_timestamp() > deadline;
    END LOOP;
    RETURN done;
END
$refresh_step$;
COMMENT ON FUNCTION topk.refresh_step IS 'part of topk.refresh: makes final lists, then those of open windows that are older than open_before (NULL: than 10 seconds, or a tenth of the time since the window ended), for two seconds at most; returns how many it made, or found that it cannot make for now; 0: nothing is left to do, or another session does it; for the counter''s owner and admins';

CREATE FUNCTION topk.revise(counter text, hour timestamptz) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_revise' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.revise IS 'for who put rows of an hour, its day or its month right by hand: their lists and sums are not used any more and made again by topk.refresh; for the counter''s owner and admins';

-- ---------------------------------------------------------------------------------------------------------------------
-- Maintenance: all of it
-- ---------------------------------------------------------------------------------------------------------------------

-- since: open windows' lists older than that are made again; NULL: those that topk.refresh_step thinks old.
CREATE FUNCTION topk.maintain_step(counter text, part text, since timestamptz DEFAULT NULL) RETURNS boolean
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $maintain_step$
DECLARE
    frontier timestamptz;
    done bigint := 0;
BEGIN
    CASE part
        WHEN 'seal' THEN
            frontier := (SELECT c.sealed_through FROM topk.counter c WHERE c.name = maintain_step.counter);
            RETURN coalesce(topk.seal_step(counter) > frontier, false);
        WHEN 'roll_up' THEN
            RETURN topk.roll_up_step(counter) IS NOT NULL;
        WHEN 'prepare' THEN
            done := topk.prepare_step(counter);
        WHEN 'refresh' THEN
            done := topk.refresh_step(counter, since);
        WHEN 'expire' THEN
            done := topk.expire_step(counter, NULL);
        ELSE
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('maintenance has no part "%s"', part),
                HINT = 'Use seal, roll_up, refresh, prepare or expire.';
    END CASE;
    RETURN done > 0;
END
$maintain_step$;
COMMENT ON FUNCTION topk.maintain_step IS 'one bounded step of a part of topk.maintain (seal, roll_up, refresh, prepare, expire), to be committed before the next; whether it did something, so that there may be more; for the counter''s owner and admins';

CREATE PROCEDURE topk.refresh(counter text DEFAULT 'video_views') LANGUAGE plpgsql
AS $refresh$
DECLARE
    began timestamptz := pg_catalog.clock_timestamp();
    part text;
    more boolean;
BEGIN
    FOREACH part IN ARRAY '{refresh,prepare}'::pg_catalog.text[] LOOP
        LOOP
            more := topk.maintain_step(refresh.counter, part, began);
            COMMIT;
            -- A clock that was set back would have the open windows' lists made again until it caught up.
            EXIT WHEN NOT more OR pg_catalog.clock_timestamp() OPERATOR(pg_catalog.<) began;
        END LOOP;
    END LOOP;
END
$refresh$;
COMMENT ON PROCEDURE topk.refresh IS 'brings topk.leaderboard up to date: the final list of every sealed window, and those of open ones as of now, in steps that it commits; for the counter''s owner and admins';

-- One step of each part in turn, so that no hour waits for its seal until a long roll-up has ended. Where a part fails the others run all
-- the same, and it has another turn after a minute if they are still at it, or else in the next run; the first error is raised at the end.
-- No part is a nested CALL: what commits cannot be in a block that catches errors.
CREATE PROCEDURE topk.maintain(counter text DEFAULT 'video_views') LANGUAGE plpgsql
AS $maintain$
DECLARE
    parts pg_catalog.text[] := '{seal,roll_up,refresh,prepare,expire}';
    since timestamptz := pg_catalog.clock_timestamp();
    rests_until timestamptz[] := '{-infinity,-infinity,-infinity,-infinity,-infinity}';
    more boolean;
    failed text;
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    LOOP
        more := false;
        -- The clock was set back: no list would be new enough until it has come here again.
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.<) since THEN since := '-infinity'; END IF;
        FOR i IN 1..5 LOOP
            CONTINUE WHEN rests_until[i] OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp();
            BEGIN
                more := topk.maintain_step(maintain.counter, parts[i], since) OR more;
            EXCEPTION WHEN OTHERS THEN
                rests_until[i] := pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) '1 minute'::pg_catalog.interval;
                IF failed IS NULL THEN
                    failed := parts[i];
                    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
                ELSIF NOT pg_catalog.texteq(SQLERRM, message) THEN
                    RAISE WARNING USING ERRCODE = SQLSTATE, MESSAGE = pg_catalog.format('%s: %s', parts[i], SQLERRM);
                END IF;
            END;
            COMMIT;
        END LOOP;
        EXIT WHEN NOT more;
    END LOOP;
    IF failed IS NOT NULL THEN
        message := pg_catalog.array_to_string(pg_catalog.array_remove(ARRAY[pg_catalog.concat(message, '.'), detail, hint], ''), ' ');
        RAISE EXCEPTION USING ERRCODE = state, MESSAGE = pg_catalog.format('%s: %s', failed, message);
    END IF;
END
$maintain$;
COMMENT ON PROCEDURE topk.maintain IS 'seals, rolls up, refreshes, prepares and expires what is due, in steps that take turns, which it commits; raises the first error when all parts are done; for the counter''s owner and admins';

-- ---------------------------------------------------------------------------------------------------------------------
-- Schedule: a counter's job of pg_cron, which lives in one database of a server, this one or another
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.require_admin(counter text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_require_admin' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.require_admin IS 'part of topk.schedule: 42501 unless the caller owns the counter or has ''admin'' on it';

-- At most 63 bytes: pg_cron's type of it is name in some versions.
CREATE FUNCTION topk.job_name(counter text DEFAULT 'video_views') RETURNS text LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $job_name$
DECLARE
    whole text := format('topk.maintain %I in %I', counter, current_database());
BEGIN
    RETURN CASE WHEN octet_length(whole) <= 63 THEN whole ELSE 'topk.maintain ' || left(encode(sha256(convert_to(whole, 'UTF8')), 'hex'), 32) END;
END
$job_name$;
COMMENT ON FUNCTION topk.job_name IS 'the name of the job that topk.schedule makes: of this database and counter';

-- To be run by a superuser where pg_cron is, so that it is not visible here whether it is there: it may be run again.
CREATE FUNCTION topk.unschedule_statement(counter text) RETURNS text LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $unschedule_statement$
BEGIN
    RETURN format('SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = %L', topk.job_name(counter));
END
$unschedule_statement$;
COMMENT ON FUNCTION topk.unschedule_statement IS 'part of topk.unschedule: what removes the counter''s job in the database of pg_cron';

CREATE FUNCTION topk.refuse_without_cron(statement text) RETURNS void LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $refuse_without_cron$
DECLARE
    -- NULL where pg_cron is not loaded, and for whom the setting is none of their business
    home text := (SELECT s.setting FROM pg_show_all_settings() s WHERE s.name = 'cron.database_name');
    installed boolean := EXISTS (SELECT FROM pg_available_extensions() a WHERE a.name = 'pg_cron');
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = format('pg_cron is not in database "%s"', current_database()),
        DETAIL = CASE WHEN NOT installed THEN 'This server has no extension pg_cron. topkd ingest --maintain needs none.'
                      WHEN home = current_database() THEN 'It was not created here yet: CREATE EXTENSION pg_cron.'
                      WHEN home IS NOT NULL THEN format('It lives in one database of a server: cron.database_name is "%s".', home)
                      ELSE 'It lives in one database of a server: cron.database_name names it.' END,
        HINT = 'As a superuser, in the database of pg_cron: ' || statement;
END
$refuse_without_cron$;
COMMENT ON FUNCTION topk.refuse_without_cron IS 'part of topk.schedule and topk.unschedule: the error whose hint is what to run where pg_cron is';

-- pg_cron shows everybody their own jobs, and superusers all.
CREATE FUNCTION topk.remove_jobs(counter text) RETURNS int LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $remove_jobs$
DECLARE
    job bigint;
    removed int := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN RETURN NULL; END IF;
    IF NOT has_schema_privilege('cron', 'USAGE') THEN RETURN NULL; END IF;
    FOR job IN SELECT j.jobid FROM cron.job j WHERE j.jobname = topk.job_name(remove_jobs.counter) LOOP
        PERFORM cron.unschedule(job);
        removed := removed + 1;
    END LOOP;
    RETURN removed;
END
$remove_jobs$;
COMMENT ON FUNCTION topk.remove_jobs IS 'part of topk.unschedule: removes the counter''s jobs that pg_cron lets the caller see; how many, NULL where there is no looking';

CREATE FUNCTION topk.forget_jobs(counter text) RETURNS void LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $forget_jobs$
DECLARE
    home text := (SELECT s.setting FROM pg_show_all_settings() s WHERE s.name = 'cron.database_name');
BEGIN
    IF topk.remove_jobs(counter) IS NULL AND home IS NOT NULL THEN
        RAISE NOTICE USING MESSAGE = format('pg_cron in database "%s" may have a job for counter "%s", which was dropped', home, counter),
            HINT = 'As a superuser, there: ' || topk.unschedule_statement(counter);
    END IF;
END
$forget_jobs$;
COMMENT ON FUNCTION topk.forget_jobs IS 'part of topk.drop_counter: removes the jobs, or says how';

-- One job does all: pg_cron starts none twice at once, and sealing has its turn between the steps of the others.
CREATE FUNCTION topk.schedule(counter text DEFAULT 'video_views', every interval DEFAULT NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $schedule$
DECLARE
    here text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'pg_cron');
    version text := coalesce(here, (SELECT a.default_version FROM pg_available_extensions() a WHERE a.name = 'pg_cron'));
    has_seconds boolean := coalesce(regexp_match(version, '^([0-9]+)[.]([0-9]+)')::int[] >= '{1,5}', false);
    seconds numeric := coalesce(extract(epoch FROM every), CASE WHEN has_seconds THEN 10 ELSE 60 END);
    command text := format('CALL topk.maintain(%L)', counter);
    timing text;
    as_role text := '';
BEGIN
    PERFORM topk.require_admin(counter);
    IF NOT (SELECT r.rolcanlogin FROM pg_roles r WHERE r.rolname = current_user) THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = format('role "%s" cannot log in', current_user),
            DETAIL = 'pg_cron connects as the role that a job belongs to.',
            HINT = format('Call topk.schedule as a role that can. It needs topk.grant_access(role, ''admin'', %L).', counter);
    END IF;
    timing := CASE WHEN seconds > 0 AND seconds < 60 AND seconds % 1 = 0 THEN format('%s seconds', trunc(seconds))
                   WHEN seconds = 60 THEN '* * * * *'
                   WHEN seconds = 3600 THEN '0 * * * *'
                   WHEN seconds > 60 AND seconds % 60 = 0 AND 3600 % nullif(seconds, 0) = 0 THEN format('*/%s * * * *', trunc(seconds / 60)) END;
    IF timing IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('argument "every" cannot be %s', every),
            HINT = 'pg_cron runs a job every 1 to 59 seconds, or every 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 or 60 minutes.';
    ELSIF seconds < 60 AND version IS NOT NULL AND NOT has_seconds THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format('pg_cron %s runs a job once a minute at most', version),
            HINT = 'Use every => ''1 minute'', or pg_cron 1.5 or later (ALTER EXTENSION pg_cron UPDATE).';
    END IF;

    IF here IS NULL THEN
        -- With the rights of who asked, not of the superuser who runs it
        IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = current_user AND NOT r.rolsuper) THEN
            as_role := format(', username => %L', current_user);
        END IF;
        PERFORM topk.refuse_without_cron(format('SELECT cron.schedule_in_database(%L, %L, %L, %L%s)',
                                                topk.job_name(counter), timing, command, current_database(), as_role));
    END IF;
    PERFORM topk.remove_jobs(counter);
    RETURN cron.schedule(topk.job_name(counter), timing, command);
END
$schedule$;
COMMENT ON FUNCTION topk.schedule IS 'has pg_cron call topk.maintain for the counter as the caller, in place of the job that was; every: default 10 seconds, 1 minute before pg_cron 1.5; returns the job''s id; for the counter''s owner and admins';

CREATE FUNCTION topk.unschedule(counter text DEFAULT 'video_views') RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $unschedule$
DECLARE
    removed int := topk.remove_jobs(counter);
BEGIN
    IF removed > 0 THEN RETURN; END IF;  -- also those of a counter that is no more
    PERFORM topk.require_admin(counter);
    IF removed = 0 THEN
        RAISE NOTICE USING MESSAGE = format('pg_cron has no job for counter "%s"', counter), DETAIL = 'Jobs of other roles are visible to superusers only.';
    ELSIF EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'permission denied for schema cron',
            HINT = format('GRANT USAGE ON SCHEMA cron TO %I;', current_user);
    ELSE
        PERFORM topk.refuse_without_cron(topk.unschedule_statement(counter));
    END IF;
END
$unschedule$;
COMMENT ON FUNCTION topk.unschedule IS 'removes the job that topk.schedule made; for the counter''s owner and admins';

-- ---------------------------------------------------------------------------------------------------------------------
-- Partitions that no flush makes: ahead of time, and where the rows come by logical replication
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.make_partitions(counter text, since timestamptz, until timestamptz) RETURNS int
    AS 'MODULE_PATHNAME', 'topk_make_partitions' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.make_partitions IS 'makes the day partitions of the hours from "since" to before "until" that are not there yet, and returns how many; flushes make theirs by themselves; for the counter''s owner and admins';

DO $dump$
DECLARE
    of_whole text := 'WHERE counter IN (SELECT name FROM topk.counter_data WHERE (SELECT count(*) FROM pg_catalog.pg_class c'
                     ' WHERE c.oid IN (hour_table, late_table, day_rollup, month_rollup, all_time_rollup)) = 5)';
BEGIN
    PERFORM pg_extension_config_dump('topk.roll_up_marker', of_whole);
    PERFORM pg_extension_config_dump('topk.expired_late_data', of_whole);
    PERFORM pg_extension_config_dump('topk.expired_dead_data', of_whole);
    PERFORM pg_extension_config_dump('topk.leaderboard_window_data', of_whole);
    PERFORM pg_extension_config_dump('topk.leaderboard_data', of_whole);
END
$dump$;
