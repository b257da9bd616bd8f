-- The calendar of hours, days and months, in zones that are not simple.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
CREATE TABLE zones (counter text, zone text);
INSERT INTO zones VALUES ('berlin', 'Europe/Berlin'), ('kathmandu', 'Asia/Kathmandu'), ('marquesas', 'Pacific/Marquesas'), ('st_johns', 'America/St_Johns'),
    ('lord_howe', 'Australia/Lord_Howe'), ('havana', 'America/Havana'), ('apia', 'Pacific/Apia'), ('sao_paulo', 'America/Sao_Paulo'),
    ('kwajalein', 'Pacific/Kwajalein'), ('casablanca', 'Africa/Casablanca'), ('utc', 'UTC');
SELECT count(topk.create_counter(counter, zone)) FROM zones;

CREATE FUNCTION local_hours(counter text, since timestamptz, until timestamptz)
    RETURNS TABLE (hour_start timestamptz, minutes int, local_start text, day_start timestamptz, month_start timestamptz) LANGUAGE sql AS $$
    SELECT h.hour_start, (extract(epoch FROM h.hour_end - h.hour_start) / 60)::int, (h.hour_start AT TIME ZONE z.zone)::text, h.day_start, h.month_start
    FROM zones z, topk.hours(z.counter, since, until) h WHERE z.counter = local_hours.counter ORDER BY 1 $$;

-- +05:45 and -09:30: hours begin where the local clock shows :00.
SELECT * FROM local_hours('kathmandu', '2020-01-31 17:00Z', '2020-01-31 19:30Z');
SELECT * FROM local_hours('marquesas', '2020-02-01 09:00Z', '2020-02-01 10:30Z');
-- -03:30, where the clocks changed at one minute past midnight: the hour goes on across the change.
SELECT * FROM local_hours('st_johns', '2010-11-07 01:00Z', '2010-11-07 05:00Z');
SELECT * FROM local_hours('st_johns', '2011-03-13 02:00Z', '2011-03-13 05:00Z');
-- Clocks set back by two hours at 00:01: the repeated end of the day before belongs to the day begun.
SELECT * FROM local_hours('st_johns', '1988-10-30 00:30Z', '1988-10-30 05:00Z');
-- Lord Howe changes by half an hour: an hour of 30 minutes, twice a year.
SELECT * FROM local_hours('lord_howe', '2020-04-04 13:30Z', '2020-04-04 17:00Z');
SELECT * FROM local_hours('lord_howe', '2020-10-03 14:00Z', '2020-10-03 17:00Z');
-- Havana's repeated midnight: a day of 25 hours, both midnights in it.
SELECT * FROM local_hours('havana', '2020-11-01 03:00Z', '2020-11-01 07:00Z');
-- Sao Paulo's missing midnight: the day begins at one.
SELECT * FROM local_hours('sao_paulo', '2018-11-04 01:00Z', '2018-11-04 05:00Z');
-- Samoa's missing day, Kwajalein's day lived twice.
SELECT day_start, count(*), min(local_start), max(local_start) FROM local_hours('apia', '2011-12-29 10:00Z', '2012-01-01 10:00Z') GROUP BY 1 ORDER BY 1;
SELECT day_start, count(*), min(local_start), max(local_start) FROM local_hours('kwajalein', '1969-09-29 13:00Z', '1969-10-02 12:00Z') GROUP BY 1 ORDER BY 1;

-- Everywhere, for two years: no gap, no overlap, an hour at most; starts on the full local hour or at a change of the clock; the day and the
-- month are those of the local date, and begin with its first hour.
WITH hours AS (
    SELECT z.zone, h.*, h.hour_start AT TIME ZONE z.zone AS local_start, lag(h.hour_end) OVER w AS previous_end,
           (h.hour_start AT TIME ZONE z.zone) - ((h.hour_start - interval '1 s') AT TIME ZONE z.zone) <> interval '1 s' AS clock_changed,
           min(h.hour_start) OVER (PARTITION BY z.zone, (h.hour_start AT TIME ZONE z.zone)::date) AS first_of_date,
           min(h.hour_start) OVER (PARTITION BY z.zone, date_trunc('month', h.hour_start AT TIME ZONE z.zone)) AS first_of_month
    FROM zones z, topk.hours(z.counter, '2019-01-01Z', '2021-01-01Z') h WINDOW w AS (PARTITION BY z.zone ORDER BY h.hour_start)
), whole AS (SELECT * FROM hours WHERE local_start >= '2019-02-01' AND local_start < '2020-12-01')
SELECT zone, count(*) AS hours, count(DISTINCT day_start) AS days, count(DISTINCT month_start) AS months,
       count(*) FILTER (WHERE hour_start <> previous_end) AS gaps,
       count(*) FILTER (WHERE hour_end - hour_start > interval '1 hour' OR hour_end <= hour_start) AS bad_lengths,
       count(*) FILTER (WHERE to_char(local_start, 'MI:SS') <> '00:00' AND NOT clock_changed) AS bad_starts,
       count(*) FILTER (WHERE day_start <> first_of_date) AS bad_days, count(*) FILTER (WHERE month_start <> first_of_month) AS bad_months
FROM whole GROUP BY zone ORDER BY zone COLLATE "C";

-- Bounds: every hour that overlaps; none for an empty range; an answer does not depend on where it starts.
SELECT * FROM topk.hours('utc', '2020-01-01 00:59:59.999999Z', '2020-01-01 01:00:00.000001Z');
SELECT count(*) FROM topk.hours('utc', '2020-01-01Z', '2020-01-01Z');
SELECT count(*) FROM topk.hours('utc', '2020-01-02Z', '2020-01-01Z');
SELECT count(*) FROM topk.hours('havana', '2020-10-20Z', '2020-11-10Z') a FULL JOIN (SELECT h.* FROM generate_series('2020-10-20Z'::timestamptz, '2020-11-09 23:00Z', '1 hour') s, topk.hours('havana', s, s + interval '1 us') h) b
    USING (hour_start, hour_end, day_start, month_start) WHERE a IS NULL OR b IS NULL;
SELECT count(*) FROM topk.hours('utc', '0001-01-01Z', '0001-01-02Z') UNION ALL SELECT count(*) FROM topk.hours('utc', '20000-01-01Z', '20000-01-02Z');
SELECT t.error($$SELECT topk.hours('utc', '-infinity', '2020-01-01Z')$$);
SELECT t.error($$SELECT topk.hours('utc', '2020-01-01Z', 'infinity')$$);
-- The end of the calendar, and a bound on what one call may ask for.
SELECT * FROM topk.hours('utc', '294276-12-31 20:00Z', '294276-12-31 22:00Z');
SELECT t.error($$SELECT * FROM topk('hour', 1, '294276-12-31 23:30Z', 'utc')$$);
SELECT count(*) FROM topk.hours('utc', '1900-01-01Z', '2014-01-01Z');
SELECT t.error($$SELECT topk.hours('utc', '1900-01-01Z', '2020-01-01Z')$$);
SELECT t.error($$SELECT topk.hours('utc', '4700-01-01Z BC', '294276-01-01Z')$$);
SELECT t.error($$SELECT topk.hours('utc', NULL, '2020-01-01Z')$$);
SELECT t.error($$SELECT topk.hours('no such', '2020-01-01Z', '2020-01-01Z')$$);

-- Stored hours win over the calendar of today: here half an hour's shift of one day, as if the time zone data had changed since.
INSERT INTO topk.hour_map SELECT 'utc', s, s + interval '1 hour', '2020-03-01 00:30Z', '2020-03-01Z' FROM generate_series('2020-03-01 00:30Z'::timestamptz, '2020-03-01 22:30Z', '1 hour') s;
SELECT * FROM topk.hours('utc', '2020-02-29 23:00Z', '2020-03-01 02:00Z');
SELECT * FROM topk.hours('utc', '2020-03-01 22:45Z', '2020-03-02 01:00Z');
-- What they leave of an hour is the same to who asks for no more.
SELECT * FROM topk.hours('utc', '2020-03-01 23:30Z', '2020-03-01 23:31Z');
SELECT * FROM topk.hours('utc', '2020-03-01 00:29Z', '2020-03-01 00:30Z');
SELECT * FROM topk.hours('utc', '2020-03-01 10:40Z', '2020-03-01 10:41Z');
SELECT partition FROM topk.claim('utc', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush('utc', 'events', t.deltas(t.hour('2020-03-01 00:00Z', t.entry('a', 1)), t.hour('2020-03-01 10:30Z', t.entry('b', 2)), t.hour('2020-03-01 23:30Z', t.entry('c', 3))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 3)]);
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'utc_hour'::regclass ORDER BY 1;
SELECT * FROM utc_hour ORDER BY 1;

-- The first day of year 1 begins before Christ.
SELECT partition FROM topk.claim('kathmandu', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{9}');
SELECT topk.flush('kathmandu', 'events', t.deltas(t.hour('0001-01-01 00:18:44Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1)]);
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'kathmandu_hour'::regclass;

SELECT count(topk.drop_counter(counter)) FROM zones;
DROP FUNCTION local_hours;
DROP TABLE zones;
