-- name: record
-- Pending orders, their lines and their payments, and what is known of each customer from
-- before. An order whose idempotency key is taken is left out of the answer.
WITH draft AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[],
        $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[],
        $12::text[], $13::text[], $14::bytea[], $15::text[], $16::date[], $37::text[]
    ) AS d (order_id, user_id, cart_id, idempotency_key, request_hash,
            subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, currency,
            payment_method, shipping_method, sealed_personal, ship_country, estimated_delivery,
            pricing)
), fresh AS (
    INSERT INTO orders (order_id, user_id, cart_id, idempotency_key, request_hash,
        subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, currency,
        payment_method, shipping_method, sealed_personal, ship_country, estimated_delivery,
        pricing)
    SELECT order_id, user_id, cart_id, idempotency_key, request_hash,
        subtotal_minor, tax_minor, shipping_minor, discount_minor, total_minor, currency,
        payment_method, shipping_method, sealed_personal, ship_country, estimated_delivery,
        pricing::jsonb
    FROM draft
    ON CONFLICT ON CONSTRAINT one_order_per_idempotency_key DO NOTHING
    RETURNING order_id, user_id
), lines AS (
    INSERT INTO order_items (order_id, line, product_id, variant_id, name, quantity,
                             unit_price_minor, subtotal_minor, discount_minor, tax_minor)
    SELECT i.order_id, i.line, i.product_id, i.variant_id, i.name, i.quantity,
           i.unit_price_minor, i.quantity * i.unit_price_minor, i.discount_minor, i.tax_minor
    FROM unnest($17::uuid[], $18::smallint[], $19::uuid[], $20::uuid[], $21::text[], $22::int[],
                $23::bigint[], $24::bigint[], $25::bigint[])
        AS i (order_id, line, product_id, variant_id, name, quantity, unit_price_minor,
              discount_minor, tax_minor)
    JOIN fresh USING (order_id)
), charges AS (
    INSERT INTO payments (payment_id, order_id, part, transaction_id, amount_minor, currency,
                          payment_method, payment_token, gateway, customer, return_url)
    SELECT p.payment_id, p.order_id, p.part, p.transaction_id, p.amount_minor, p.currency,
           p.payment_method, p.payment_token, p.gateway, p.customer, p.return_url
    FROM unnest($26::uuid[], $27::uuid[], $28::smallint[], $29::text[], $30::bigint[],
                $31::text[], $32::text[], $33::text[], $34::text[], $35::text[], $36::text[])
        AS p (payment_id, order_id, part, transaction_id, amount_minor, currency, payment_method,
              payment_token, gateway, customer, return_url)
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
SELECT o.*, k.position,
       CASE WHEN o.status = 'awaiting_payment' THEN
           (SELECT jsonb_agg(p.next_action || jsonb_build_object('amount_minor', p.amount_minor,
                                 'currency', p.currency) ORDER BY p.part) FROM payments p
            WHERE p.order_id = o.order_id AND p.next_action IS NOT NULL) END AS actions
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
    WHERE o.status IN ('pending', 'accepted', 'awaiting_payment') ORDER BY o.order_id FOR UPDATE OF o
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
    UPDATE payments p SET status = 'captured', next_action = NULL, updated_at = now()
    FROM ready WHERE p.order_id = ready.order_id
), told AS (
    INSERT INTO outbox (event_id, type, subject, data)
    SELECT w.event_id, w.type, w.order_id, w.data::jsonb FROM wanted w JOIN ready USING (order_id)
), confirmed AS (
    UPDATE orders o SET status = 'confirmed', confirmed_at = now(), updated_at = now(),
           waits_until = NULL
    FROM ready WHERE o.order_id = ready.order_id
    RETURNING o.order_id
)
SELECT w.order_id,
       -- None where the order moved on while this statement waited for its lock: the status
       -- that is seen here is older than that, and `statuses` is asked.
       CASE WHEN c.order_id IS NOT NULL THEN 'confirmed'
            WHEN p.order_id IS NOT NULL THEN 'not_held'
            WHEN o.status NOT IN ('pending', 'accepted', 'awaiting_payment') THEN o.status::text END AS status
FROM wanted w
LEFT JOIN confirmed c USING (order_id)
LEFT JOIN pending p USING (order_id)
LEFT JOIN orders o ON o.order_id = w.order_id

-- name: note_fraud
UPDATE orders o SET fraud_score = f.score, fraud_action = f.action,
       fraud_flags = string_to_array(f.flags, ','), fraud_reasons = f.reasons::jsonb
FROM unnest($1::uuid[], $2::real[], $3::text[], $4::text[], $5::text[])
    AS f (order_id, score, action, flags, reasons)
WHERE o.order_id = f.order_id

-- name: fail
-- Orders that are still open become failed; each charge as it was left, voided if nothing is said.
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::text[]) AS w (order_id, failure)
), open AS (
    SELECT o.order_id FROM orders o JOIN wanted USING (order_id)
    WHERE o.status IN ('pending', 'in_review', 'accepted', 'awaiting_payment')
    ORDER BY o.order_id FOR UPDATE OF o
), failed AS (
    UPDATE orders o SET status = 'failed', failure = w.failure::jsonb, failed_at = now(),
           updated_at = now(), waits_until = NULL
    FROM wanted w JOIN open USING (order_id) WHERE o.order_id = w.order_id
    RETURNING o.order_id
), settled AS (
    UPDATE payments p SET status = coalesce(c.status, 'voided')::payment_status,
           next_action = NULL, updated_at = now(),
           refunded_minor = CASE c.status WHEN 'refunded' THEN p.amount_minor ELSE 0 END
    FROM open, payments own
    LEFT JOIN unnest($3::text[], $4::text[]) AS c (transaction_id, status) USING (transaction_id)
    WHERE own.order_id = open.order_id AND p.payment_id = own.payment_id
)
SELECT w.order_id, f.order_id IS NOT NULL AS now,
       -- None as in `confirm`.
       CASE WHEN f.order_id IS NOT NULL THEN 'failed'
            WHEN o.failed_at IS NOT NULL OR o.confirmed_at IS NOT NULL THEN o.status::text
       END AS status
FROM wanted w
LEFT JOIN failed f USING (order_id)
LEFT JOIN orders o ON o.order_id = w.order_id

-- name: fail_review
-- Only what is in review still: what was accepted meanwhile may be charged already.
WITH failed AS (
    UPDATE orders SET status = 'failed', failure = $2::jsonb, failed_at = now(),
           updated_at = now(), waits_until = NULL, reviewed_by = $3::text, review_note = $4::text,
           reviewed_at = $5::timestamptz,
           review_decision = CASE WHEN $3::text IS NOT NULL THEN 'decline' END
    WHERE order_id = $1 AND status = 'in_review'
    RETURNING order_id
), voided AS (
    UPDATE payments p SET status = 'voided', next_action = NULL, updated_at = now()
    FROM failed WHERE p.order_id = failed.order_id
)
-- None as in `confirm`.
SELECT w.order_id,
       CASE WHEN f.order_id IS NOT NULL THEN 'failed' END AS status
FROM (SELECT $1::uuid AS order_id) w LEFT JOIN failed f USING (order_id)

-- name: park
-- Pending orders wait from now on; what waits already for the same is told so. Nobody has looked
-- at them since the order was made: a webhook that came before this is still to be gone by.
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[])
        AS w (order_id, status, waits_until)
), pending AS (
    SELECT o.order_id FROM orders o JOIN wanted USING (order_id)
    WHERE o.status = 'pending'
       -- A repeat that comes late must not put up for review again what was accepted meanwhile.
       OR o.status = 'accepted' AND wanted.status = 'awaiting_payment'
    ORDER BY o.order_id FOR UPDATE OF o
), parked AS (
    UPDATE orders o SET status = w.status::order_status, waits_until = w.waits_until,
           looked_at = o.created_at, updated_at = now()
    FROM wanted w JOIN pending USING (order_id) WHERE o.order_id = w.order_id
    RETURNING o.order_id, o.status
), told AS (
    UPDATE payments p SET status = c.status::payment_status, next_action = c.action::jsonb,
           updated_at = now()
    FROM unnest($4::uuid[], $5::uuid[], $6::text[], $7::text[])
        AS c (order_id, payment_id, status, action)
    JOIN parked USING (order_id)
    WHERE p.payment_id = c.payment_id
)
SELECT w.order_id, p.status::text AS status
FROM wanted w LEFT JOIN parked p USING (order_id)

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
SELECT o.*,
       CASE WHEN o.status = 'awaiting_payment' THEN
           (SELECT jsonb_agg(p.next_action || jsonb_build_object('amount_minor', p.amount_minor,
                                 'currency', p.currency) ORDER BY p.part) FROM payments p
            WHERE p.order_id = o.order_id AND p.next_action IS NOT NULL) END AS actions
FROM orders o WHERE o.order_id = $1 AND o.user_id = $2

-- name: personal
SELECT sealed_personal, shipping_address, billing_address FROM orders WHERE order_id = $1

-- name: find_items
SELECT i.product_id, i.variant_id, i.name, i.quantity, i.unit_price_minor, v.sku
FROM order_items i LEFT JOIN product_variants v USING (variant_id)
WHERE i.order_id = $1 ORDER BY i.line

-- name: find_payments
-- How an order was paid, for its buyer: of tokens only what they are recognised by.
SELECT p.payment_method AS kind, p.amount_minor, p.currency, p.status::text AS status,
       coalesce(m.last_four, c.last_four) AS last_four, i.number, i.due_on, i.open_minor
FROM payments p
JOIN orders o USING (order_id)
LEFT JOIN payment_methods m
    ON m.user_id = o.user_id AND m.gateway = p.gateway AND m.token = p.payment_token
LEFT JOIN gift_cards c ON p.payment_method = 'gift_card' AND c.code_hash = p.payment_token
LEFT JOIN credit_invoices i ON i.transaction_id = p.transaction_id
WHERE p.order_id = $1 ORDER BY p.part

-- name: stalled
SELECT o.order_id, o.user_id, o.status::text AS status, o.total_minor, o.currency,
       o.waits_until, o.created_at,
       p.payment_id, p.gateway, p.transaction_id, p.amount_minor, p.payment_method,
       p.payment_token, p.customer, p.return_url
FROM (SELECT * FROM orders WHERE status = 'pending' AND created_at < $1
      ORDER BY created_at LIMIT $2) o
LEFT JOIN payments p USING (order_id)
ORDER BY o.created_at, o.order_id, p.part

-- name: waiting
-- Orders that wait: those whose time is over, those of which a webhook came, and the others of
-- which nobody has asked for a while, the longest unasked first. They count as looked at.
WITH told AS (
    SELECT DISTINCT p.order_id
    FROM payment_events e JOIN payments p USING (transaction_id)
    WHERE e.handled_at IS NULL
), due AS (
    SELECT o.order_id FROM orders o
    WHERE o.waits_until IS NOT NULL
      AND (o.waits_until <= $1
           OR o.status <> 'in_review'
              AND (o.looked_at < $2 OR o.order_id IN (SELECT order_id FROM told)))
    ORDER BY o.looked_at LIMIT $3 FOR UPDATE OF o SKIP LOCKED
), seen AS (
    UPDATE orders o SET looked_at = $1 FROM due WHERE o.order_id = due.order_id RETURNING o.*
)
SELECT o.order_id, o.user_id, o.status::text AS status, o.total_minor, o.currency,
       o.waits_until, o.created_at,
       p.payment_id, p.gateway, p.transaction_id, p.amount_minor, p.payment_method,
       p.payment_token, p.customer, p.return_url
FROM seen o LEFT JOIN payments p USING (order_id)
ORDER BY o.order_id, p.part

-- name: open_by_charge
SELECT o.order_id, o.user_id, o.status::text AS status, o.total_minor, o.currency,
       o.waits_until, o.created_at,
       p.payment_id, p.gateway, p.transaction_id, p.amount_minor, p.payment_method,
       p.payment_token, p.customer, p.return_url
FROM orders o LEFT JOIN payments p USING (order_id)
WHERE o.order_id = (SELECT order_id FROM payments WHERE transaction_id = $1)
ORDER BY p.part

-- name: open_by_id
SELECT o.order_id, o.user_id, o.status::text AS status, o.total_minor, o.currency,
       o.waits_until, o.created_at,
       p.payment_id, p.gateway, p.transaction_id, p.amount_minor, p.payment_method,
       p.payment_token, p.customer, p.return_url
FROM orders o LEFT JOIN payments p USING (order_id)
WHERE o.order_id = $1
ORDER BY p.part

-- name: switch_gateway
-- Only while nobody but the order's own checkout can be at it.
UPDATE payments p SET gateway = $2, updated_at = now()
FROM orders o
WHERE p.transaction_id = $1 AND p.status = 'created' AND o.order_id = p.order_id
  AND o.status = 'pending' AND o.created_at > now() - make_interval(secs => $3)
RETURNING p.payment_id

-- name: lease
-- Taken if it is free, ours already, or its holder has let it run out.
INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE leases.holder = excluded.holder OR leases.expires_at <= now()
RETURNING holder

-- name: note_event
INSERT INTO payment_events (gateway, event_id, type, transaction_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (gateway, event_id) DO NOTHING RETURNING event_id

-- name: events_settled
-- Webhooks that nothing waits for any more, or whose order is unknown. A pending order may wait
-- yet: its webhook is kept until somebody has looked at the order after it came. Of those that
-- were done with long ago some are forgotten: one that came again would be a hint like any other.
WITH forgotten AS (
    DELETE FROM payment_events WHERE (gateway, event_id) IN (
        SELECT gateway, event_id FROM payment_events WHERE handled_at < $2
        ORDER BY handled_at LIMIT $3)
)
UPDATE payment_events e SET handled_at = now()
WHERE e.handled_at IS NULL AND e.received_at <= $1
  AND NOT EXISTS (SELECT FROM payments p JOIN orders o USING (order_id)
                  WHERE p.transaction_id = e.transaction_id
                    AND (o.status = 'pending'
                         OR o.waits_until IS NOT NULL AND o.looked_at < e.received_at))

-- name: event_handled
UPDATE payment_events SET handled_at = now() WHERE gateway = $1 AND event_id = $2

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
       (SELECT count(*) FROM orders WHERE status = 'pending') AS orders_pending,
       (SELECT count(*) FROM orders WHERE waits_until IS NOT NULL) AS orders_waiting
