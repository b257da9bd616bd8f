-- topk.status: freshness, and in words why a partition holds the seal back.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter(lateness => '0 s', idle_timeout => '30 s');
CREATE VIEW reasons AS SELECT partition, regexp_replace(regexp_replace(holds_seal_back, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00', 'TIME', 'g'), 'is .* old', 'is AGE old') AS holds_seal_back FROM topk.status();
CREATE VIEW freshness AS SELECT partition, sealed_through, watermark_age BETWEEN '0 s' AND '1 min' AS fresh, watermark_age > '2000 days' AS aged, visible_after BETWEEN '0 s' AND '1 min' AS visible_at_once, visible_after > '2000 days' AS visible_late FROM topk.status();

SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 5, '{0,1,2,3}', '{0,0,0,0}', '{100,100,100,100}');
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 0, 1, clock_timestamp()), t.advance(1, 1, 0, 1, '2020-01-01 05:30Z'), t.advance(2, 1, 0, 1, '2020-01-01 06:30Z')]);
SELECT * FROM reasons;
SELECT * FROM freshness;
-- A partition at its end that is silent does not hold it back, once its owner has said so.
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[ROW(1, 1, 1, 1, NULL, NULL, NULL, clock_timestamp(), 0, 0, 0, 0)::topk.flush_progress]);
SELECT * FROM reasons WHERE partition = 1;
SELECT * FROM freshness WHERE partition = 1;

-- Held by the operator: all of them, beside their own reasons.
SELECT topk.hold_seal('video_views', 'a slow backfill');
SELECT * FROM reasons;
SELECT topk.resume_seal(), topk.hold_seal();
SELECT * FROM reasons WHERE partition = 0;
SELECT topk.resume_seal();

-- The owner is gone: those that nobody reads say so. A reset takes the owner away.
UPDATE topk.kafka_progress_data SET owner_backend_start = owner_backend_start - interval '1 s';
SELECT topk.reset_progress('video_views', 'events', 2, 0, 'test');
SELECT * FROM reasons;
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 5, '{0,1,2,3,4}', '{0,0,0,0,0}', '{100,100,100,100,100}');
SELECT * FROM reasons;
-- Behind by more than an hour that is due: none of it while all are there.
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(2, 3, 0, 1, clock_timestamp()), t.advance(3, 2, 0, 1, clock_timestamp()), t.advance(4, 1, 0, 1, clock_timestamp())]);
SELECT count(holds_seal_back) FROM reasons;
CALL topk.seal();
SELECT DISTINCT sealed_through = date_trunc('hour', least(min(watermark) OVER ())) AS sealed FROM topk.status();
DROP VIEW reasons, freshness;
SELECT topk.drop_counter('video_views');
