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
COMMENT ON COLUMN topk.counter_data.hour_retention IS 'how long rows of hours are kept at least; never dropped before they are rolled up';
COMMENT ON COLUMN topk.counter_data.day_retention IS 'how long rows of the day roll-up are kept at least; never deleted before they are in month and all time';
COMMENT ON COLUMN topk.counter_data.hour_list_retention IS 'how long final lists of hours are kept in topk.leaderboard; those of days and months stay';
COMMENT ON COLUMN topk.counter_data.late_retention IS 'how long topk.late_views and topk.dead_letter are kept';
COMMENT ON COLUMN topk.counter_data.hours_expired_through IS 'hours that begin before it may have lost their rows';
COMMENT ON COLUMN topk.counter_data.days_expired_through IS 'days that begin before it may have lost their rows in the day roll-up';

-- ---------------------------------------------------------------------------------------------------------------------
-- Leaderboards
-- ---------------------------------------------------------------------------------------------------------------------

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

-- One job does all: pg_cron starts none twice at once, and a seal that waits for a roll-up to end only lets an hour take views a little longer.
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
        IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = current_user AND r.rolcanlogin AND NOT r.rolsuper) THEN
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
END
$dump$;
