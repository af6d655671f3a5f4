-- name: record
-- Pending orders, their lines and their payments, and what is known of each customer from
-- before. An order whose idempotency key is taken is left out of the answer.
WITH draft AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[],
        $12::text[], $13::text[], $14::bytea[], $15::text[], $16::date[]
    ) AS d (order_id, user_id, cart_id, idempotency_key, request_hash,
            subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, currency,
            payment_method, shipping_method, sealed_personal, ship_country, estimated_delivery)
), fresh AS (
    INSERT INTO orders (order_id, user_id, cart_id, idempotency_key, request_hash,
        subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, currency,
        payment_method, shipping_method, sealed_personal, ship_country, estimated_delivery)
    SELECT order_id, user_id, cart_id, idempotency_key, request_hash,
        subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, currency,
        payment_method, shipping_method, sealed_personal, ship_country, estimated_delivery
    FROM draft
    ON CONFLICT ON CONSTRAINT one_order_per_idempotency_key DO NOTHING
    RETURNING order_id, user_id
), lines AS (
    INSERT INTO order_items (order_id, line, product_id, variant_id, name, quantity,
                             unit_price_minor, subtotal_minor)
    SELECT i.order_id, i.line, i.product_id, i.variant_id, i.name, i.quantity,
           i.unit_price_minor, i.quantity * i.unit_price_minor
    FROM unnest($17::uuid[], $18::smallint[], $19::uuid[], $20::uuid[], $21::text[], $22::int[],
                $23::bigint[])
        AS i (order_id, line, product_id, variant_id, name, quantity, unit_price_minor)
    JOIN fresh USING (order_id)
), charges AS (
    INSERT INTO payments (payment_id, order_id, transaction_id, amount_minor, currency,
                          payment_method, payment_token, gateway)
    SELECT p.payment_id, p.order_id, p.transaction_id, p.amount_minor, p.currency,
           p.payment_method, p.payment_token, p.gateway
    FROM unnest($24::uuid[], $1::uuid[], $25::text[], $10::bigint[], $11::text[], $12::text[],
                $26::text[], $27::text[])
        AS p (payment_id, order_id, transaction_id, amount_minor, currency, payment_method,
              payment_token, gateway)
    JOIN fresh USING (order_id)
)
SELECT fresh.order_id, history.recent, history.average, history.country
FROM fresh
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE o.created_at > now() - interval '1 hour') AS recent,
           avg(o.total_minor) FILTER (WHERE o.confirmed_at IS NOT NULL)::float8 AS average,
           (array_agg(coalesce(o.ship_country, o.shipping_address ->> 'country')
                      ORDER BY o.created_at DESC)
               FILTER (WHERE o.confirmed_at IS NOT NULL))[1] AS country
    FROM (SELECT * FROM orders h WHERE h.user_id = fresh.user_id
          ORDER BY h.created_at DESC LIMIT 50) o
) history ON true

-- name: by_keys
SELECT o.*, k.position
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS k (user_id, idempotency_key, position)
JOIN orders o USING (user_id, idempotency_key)

-- name: confirm
-- The order as a whole or not at all: only if it is still pending and every reservation of it
-- is still held. The state of the reservation rows, locked here, decides a race with expiry.
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[])
        AS w (order_id, event_id, type, data)
), pending AS (
    SELECT o.order_id FROM orders o JOIN wanted USING (order_id)
    WHERE o.status = 'pending' ORDER BY o.order_id FOR UPDATE OF o
), held AS (
    SELECT r.reservation_id, r.order_id, r.quantity
    FROM inventory_reservations r JOIN pending USING (order_id)
    WHERE r.status = 'active'
    ORDER BY r.reservation_id FOR UPDATE OF r
), ready AS (
    -- Every unit of every line is still held.
    SELECT h.order_id FROM held h
    GROUP BY h.order_id
    HAVING sum(h.quantity) =
        (SELECT sum(i.quantity) FROM order_items i WHERE i.order_id = h.order_id)
), allocated AS (
    UPDATE inventory_reservations r SET status = 'allocated'
    FROM held JOIN ready USING (order_id)
    WHERE r.reservation_id = held.reservation_id
), captured AS (
    UPDATE payments p SET status = 'captured', updated_at = now()
    FROM ready WHERE p.order_id = ready.order_id
), told AS (
    INSERT INTO outbox (event_id, type, subject, data)
    SELECT w.event_id, w.type, w.order_id, w.data::jsonb FROM wanted w JOIN ready USING (order_id)
), confirmed AS (
    UPDATE orders o SET status = 'confirmed', confirmed_at = now(), updated_at = now()
    FROM ready WHERE o.order_id = ready.order_id
    RETURNING o.order_id
)
SELECT w.order_id,
       -- None where the order moved on while this statement waited for its lock: the status
       -- that is seen here is older than that, and `statuses` is asked.
       CASE WHEN c.order_id IS NOT NULL THEN 'confirmed'
            WHEN p.order_id IS NOT NULL THEN 'not_held'
            WHEN o.status <> 'pending' THEN o.status::text END AS status
FROM wanted w
LEFT JOIN confirmed c USING (order_id)
LEFT JOIN pending p USING (order_id)
LEFT JOIN orders o ON o.order_id = w.order_id

-- name: note_fraud
UPDATE orders o SET fraud_score = f.score, fraud_action = f.action,
       fraud_flags = string_to_array(f.flags, ',')
FROM unnest($1::uuid[], $2::real[], $3::text[], $4::text[]) AS f (order_id, score, action, flags)
WHERE o.order_id = f.order_id

-- name: fail
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS w (order_id, failure, payment)
), pending AS (
    SELECT o.order_id FROM orders o JOIN wanted USING (order_id)
    WHERE o.status = 'pending' ORDER BY o.order_id FOR UPDATE OF o
), failed AS (
    UPDATE orders o SET status = 'failed', failure = w.failure::jsonb, failed_at = now(),
           updated_at = now()
    FROM wanted w JOIN pending USING (order_id) WHERE o.order_id = w.order_id
    RETURNING o.order_id
), settled AS (
    UPDATE payments p SET status = w.payment::payment_status, updated_at = now()
    FROM wanted w JOIN pending USING (order_id) WHERE p.order_id = w.order_id
)
SELECT w.order_id,
       -- None as in `confirm`.
       CASE WHEN f.order_id IS NOT NULL THEN 'failed'
            WHEN o.status <> 'pending' THEN o.status::text END AS status
FROM wanted w
LEFT JOIN failed f USING (order_id)
LEFT JOIN orders o ON o.order_id = w.order_id

-- name: statuses
SELECT order_id, status::text AS status FROM orders WHERE order_id = ANY ($1::uuid[])

-- name: withdraw
WITH gone AS (
    SELECT order_id FROM orders WHERE order_id = ANY ($1::uuid[]) AND status = 'pending' FOR UPDATE
), items AS (
    DELETE FROM order_items i USING gone WHERE i.order_id = gone.order_id
), charges AS (
    DELETE FROM payments p USING gone WHERE p.order_id = gone.order_id
)
DELETE FROM orders o USING gone WHERE o.order_id = gone.order_id

-- name: find
SELECT * FROM orders WHERE order_id = $1 AND user_id = $2

-- name: personal
SELECT sealed_personal, shipping_address, billing_address FROM orders WHERE order_id = $1

-- name: find_items
SELECT i.product_id, i.variant_id, i.name, i.quantity, i.unit_price_minor, v.sku
FROM order_items i LEFT JOIN product_variants v USING (variant_id)
WHERE i.order_id = $1 ORDER BY i.line

-- name: stalled
SELECT o.order_id, o.user_id, o.total_minor, o.currency, p.transaction_id
FROM orders o JOIN payments p USING (order_id)
WHERE o.status = 'pending' AND o.created_at < $1
ORDER BY o.created_at LIMIT $2

-- name: holds_of
SELECT reservation_id, inventory_id FROM inventory_reservations
WHERE order_id = $1 AND status = 'active'

-- name: unpublished
SELECT event_id, type, subject, data FROM outbox
WHERE published_at IS NULL ORDER BY event_id LIMIT $1

-- name: mark_published
UPDATE outbox SET published_at = now() WHERE event_id = ANY ($1::uuid[])

-- name: counts
SELECT (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS outbox_pending,
       (SELECT count(*) FROM orders WHERE status = 'pending') AS orders_pending
