-- name: load
-- A day's rates again replace that day's.
INSERT INTO exchange_rates (base, as_of, currency, rate)
SELECT $1, $2, r.currency, r.rate FROM unnest($3::text[], $4::numeric[]) AS r (currency, rate)
ORDER BY r.currency
ON CONFLICT (as_of, base, currency) DO UPDATE SET rate = excluded.rate, loaded_at = now()

-- name: drop_day
DELETE FROM exchange_rates WHERE as_of = $1 AND NOT (base = $2 AND currency = ANY ($3::text[]))

-- name: newest
SELECT base, as_of, currency, rate FROM exchange_rates
WHERE as_of = (SELECT max(as_of) FROM exchange_rates WHERE as_of <= $1)
ORDER BY currency
