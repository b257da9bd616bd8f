\echo Use "ALTER EXTENSION topk UPDATE TO '1.2'" to load this file. \quit

-- What version 1.2 adds. This script is never edited once released.

-- ---------------------------------------------------------------------------------------------------------------------
-- Partitions that are gone
-- ---------------------------------------------------------------------------------------------------------------------

ALTER TABLE topk.progress_history_data ALTER COLUMN reset_to DROP NOT NULL;
COMMENT ON TABLE topk.progress_history_data IS 'progress rows as they were before topk.reset_progress or topk.retire_partition; read it through topk.progress_history';
COMMENT ON COLUMN topk.progress_history_data.reset_to IS 'where topk.reset_progress moved the partition; NULL: topk.retire_partition took it away';
COMMENT ON COLUMN topk.progress_history_data.reset_by IS 'who moved or retired it';
COMMENT ON COLUMN topk.progress_history_data.reset_at IS 'when that was';
COMMENT ON VIEW topk.progress_history IS 'progress rows as they were before topk.reset_progress, or topk.retire_partition (reset_to is NULL), with the reason';

CREATE FUNCTION topk.retire_partition(counter text, topic text, partition int, reason text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_retire_partition' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.retire_partition IS 'takes a partition that Kafka does not have any more out of topk.kafka_progress, so that it does not hold the seal back; on the record in topk.progress_history; a claim puts it back where it was; for the counter''s owner and admins';

-- Functions that know of retired partitions, under names that older libraries do not have: sessions that loaded one of these before the
-- new one was installed would read a partition that came back anew, and count it twice. They get an error from now on.
CREATE OR REPLACE FUNCTION topk.claim(counter text, topic text, cluster_id text, group_id text, member text, partition_count int,
                           partitions int[], log_starts bigint[], log_ends bigint[],
                           epochs bigint[] DEFAULT NULL, take_over boolean DEFAULT false)
    RETURNS TABLE (partition int, status text, epoch bigint, next_offset bigint, last_offset bigint, last_timestamp_ms bigint,
                   last_crc bigint, watermark timestamptz, sealed_through timestamptz, time_zone text, lateness interval,
                   max_clock_skew interval, max_age interval, idle_timeout interval)
    AS 'MODULE_PATHNAME', 'topk_claim_1_2' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.reset_progress(counter text, topic text, partition int, next_offset bigint, reason text) RETURNS void
    AS 'MODULE_PATHNAME', 'topk_reset_progress_1_2' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION topk.audit(counter text DEFAULT 'video_views')
    RETURNS TABLE (check_name text, subject text, expected numeric, found numeric, ok boolean, detail text)
    AS 'MODULE_PATHNAME', 'topk_audit_1_2' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 1000000 ROWS 20
    SET search_path = pg_catalog, pg_temp;

-- ---------------------------------------------------------------------------------------------------------------------
-- What goes with a list
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.window_state(span text, at timestamptz DEFAULT NULL, counter text DEFAULT 'video_views')
    RETURNS TABLE (window_start timestamptz, window_end timestamptz, sealed boolean, revision bigint, watermark timestamptz, counter_created_at timestamptz)
    AS 'MODULE_PATHNAME', 'topk_window_state' LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 1
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.window_state IS 'the window that topk() of the same span and instant lists: its bounds, whether it is sealed, how often it was corrected, and the least watermark of the counter''s partitions; NULL: none yet';

-- ---------------------------------------------------------------------------------------------------------------------
-- Maintenance: partitions made ahead
-- ---------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION topk.make_partition_ahead(counter text) RETURNS boolean
    AS 'MODULE_PATHNAME', 'topk_make_partition_ahead' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION topk.make_partition_ahead IS 'makes the first partition that is missing of today and the next two days, so that no flush has to; whether it made one: false also if somebody else does right now; 55P03 if the hour table stays locked for 10 s; for the counter''s owner and admins';

CREATE OR REPLACE FUNCTION topk.maintain_step(counter text, part text, since timestamptz DEFAULT NULL) RETURNS boolean
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
        WHEN 'partitions' THEN
            RETURN topk.make_partition_ahead(counter);
        ELSE
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('maintenance has no part "%s"', part),
                HINT = 'Use seal, roll_up, refresh, prepare, expire or partitions.';
    END CASE;
    RETURN done > 0;
END
$maintain_step$;
COMMENT ON FUNCTION topk.maintain_step IS 'one bounded step of a part of topk.maintain (seal, roll_up, refresh, prepare, expire, partitions), to be committed before the next; whether it did something, so that there may be more; for the counter''s owner and admins';

-- As of 1.1, with one part more.
CREATE OR REPLACE PROCEDURE topk.maintain(counter text DEFAULT 'video_views') LANGUAGE plpgsql
AS $maintain$
DECLARE
    parts pg_catalog.text[] := '{seal,roll_up,refresh,prepare,expire,partitions}';
    since pg_catalog.timestamptz := pg_catalog.clock_timestamp();
    rests_until pg_catalog.timestamptz[] := pg_catalog.array_fill('-infinity'::pg_catalog.timestamptz, ARRAY[6]);
    more boolean;
    failed pg_catalog.text;
    state pg_catalog.text;
    message pg_catalog.text;
    detail pg_catalog.text;
    hint pg_catalog.text;
BEGIN
    LOOP
        more := false;
        -- The clock was set back: no list would be new enough until it has come here again.
        IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.<) since THEN since := '-infinity'; END IF;
        FOR i IN 1..6 LOOP
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
COMMENT ON PROCEDURE topk.maintain IS 'seals, rolls up, refreshes, prepares and expires what is due, and makes partitions ahead, in steps that take turns, which it commits; raises the first error when all parts are done; for the counter''s owner and admins';

-- ---------------------------------------------------------------------------------------------------------------------
-- Schedule: who may not use pg_cron is told how to
-- ---------------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION topk.schedule(counter text DEFAULT 'video_views', every interval DEFAULT NULL) RETURNS bigint
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
    IF NOT has_schema_privilege('cron', 'USAGE') THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'permission denied for schema cron',
            DETAIL = format('Role "%s" may not use pg_cron.', current_user),
            HINT = format('As a superuser: GRANT USAGE ON SCHEMA cron TO %I;', current_user);
    END IF;
    PERFORM topk.remove_jobs(counter);
    RETURN cron.schedule(topk.job_name(counter), timing, command);
END
$schedule$;

-- ---------------------------------------------------------------------------------------------------------------------
-- As of 1.1, with the types of variables named in full: these run with the caller's search_path
-- ---------------------------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION topk.create_counter(name text DEFAULT 'video_views', time_zone text DEFAULT 'UTC', lateness interval DEFAULT '60 s',
                                    max_clock_skew interval DEFAULT '5 min', max_age interval DEFAULT '400 days',
                                    idle_timeout interval DEFAULT '60 s')
    RETURNS void LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS $create_counter$
DECLARE
    home pg_catalog.text := pg_catalog.current_schema();
    hours pg_catalog.text := pg_catalog.concat(name, '_hour');
    late pg_catalog.text := pg_catalog.concat(name, '_late');
    grain pg_catalog.text;
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

CREATE OR REPLACE PROCEDURE topk.refresh(counter text DEFAULT 'video_views') LANGUAGE plpgsql
AS $refresh$
DECLARE
    began pg_catalog.timestamptz := pg_catalog.clock_timestamp();
    part pg_catalog.text;
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

-- It locks the counter's row.
CREATE OR REPLACE FUNCTION topk.refresh_due(counter text, open_before timestamptz) RETURNS TABLE (span text, at timestamptz)
    AS 'MODULE_PATHNAME', 'topk_refresh_due' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
    SET search_path = pg_catalog, pg_temp;

-- ---------------------------------------------------------------------------------------------------------------------
-- What expiry waits for, and what makes prepared sums obsolete
-- ---------------------------------------------------------------------------------------------------------------------

COMMENT ON COLUMN topk.counter_data.day_retention IS 'how long rows of the day roll-up are kept at least; never deleted before they are in month and all time, and as long again where days have no final list';
COMMENT ON COLUMN topk.prepared_sum_data.corrections IS 'how often the hours, and the days and months that begin among them, had been corrected; the sums do not hold for who sees another number';

-- ---------------------------------------------------------------------------------------------------------------------
-- The index
-- ---------------------------------------------------------------------------------------------------------------------

COMMENT ON FUNCTION topk.headroom(int2) IS 'the score and a 16th of it: how far it may grow before the index is written again';
COMMENT ON FUNCTION topk.headroom(int4) IS 'the score and a 16th of it: how far it may grow before the index is written again';
COMMENT ON FUNCTION topk.headroom(int8) IS 'the score and a 16th of it: how far it may grow before the index is written again';
COMMENT ON FUNCTION topk.headroom(float4) IS 'the score and a 16th of it: how far it may grow before the index is written again';
COMMENT ON FUNCTION topk.headroom(float8) IS 'the score and a 16th of it: how far it may grow before the index is written again';
