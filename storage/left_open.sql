-- name: cut_off
-- Disconnects whoever keeps the backend $1 waiting, directly or through others that wait as well,
-- and does nothing itself but wait for its client.
WITH RECURSIVE ahead AS (
    SELECT unnest(pg_blocking_pids($1)) AS pid
    UNION
    SELECT unnest(pg_blocking_pids(a.pid)) FROM ahead a
), silent AS MATERIALIZED ( -- or everybody is disconnected before anything is looked at
    SELECT pid FROM ahead JOIN pg_stat_activity USING (pid) WHERE wait_event_type = 'Client'
)
SELECT pid, pg_terminate_backend(pid) AS cut FROM silent
