-- name: lock_payments
-- Whoever refunds of an order waits here for the others; in one order, so nobody waits in a circle.
SELECT payment_id, part, status::text AS status, amount_minor, refunded_minor
FROM payments WHERE order_id = $1 ORDER BY part FOR UPDATE

-- name: by_key
SELECT refund_id FROM refunds WHERE order_id = $1 AND idempotency_key = $2

-- name: order
SELECT o.status::text AS status, o.currency, o.total_minor, o.tax_minor, o.discount_minor,
       EXISTS (SELECT FROM refunds r WHERE r.order_id = o.order_id AND r.shipping_minor > 0)
           AS shipping_refunded
FROM orders o WHERE o.order_id = $1

-- name: order_lines
SELECT i.line, i.variant_id, coalesce(v.sku, '') AS sku, i.quantity, i.subtotal_minor,
       i.discount_minor, i.tax_minor,
       (SELECT coalesce(sum(l.quantity), 0)::int FROM refund_lines l JOIN refunds r USING (refund_id)
         WHERE r.order_id = i.order_id AND l.line = i.line) AS refunded_quantity
FROM order_items i LEFT JOIN product_variants v USING (variant_id)
WHERE i.order_id = $1 ORDER BY i.line

-- name: taken_from
-- Units that are promised beyond the stock have left no warehouse. What an owner refused to book
-- did not come back.
SELECT t.inventory_id, i.variant_id, t.quantity,
       (SELECT coalesce(sum(b.quantity), 0)::int
        FROM refund_returns b JOIN refunds r USING (refund_id)
        JOIN stock_instructions s USING (instruction_id)
        WHERE r.order_id = $1 AND b.inventory_id = t.inventory_id AND s.status <> 'refused')
           AS returned
FROM (SELECT inventory_id, sum(quantity)::int AS quantity FROM inventory_reservations
      WHERE order_id = $1 AND status IN ('allocated', 'shipped') AND NOT backordered
      GROUP BY inventory_id) t
JOIN inventory i USING (inventory_id)
ORDER BY t.inventory_id

-- name: return_to_stock
-- The pairs' owners carry it out, as everything that `doorbuster stock` asks for.
WITH asked AS (
    INSERT INTO stock_instructions
        (instruction_id, inventory_id, kind, quantity, actor, reason, reference)
    SELECT w.instruction_id, w.inventory_id, 'return', w.quantity, $2, $3, $4
    FROM unnest($5::uuid[], $7::uuid[], $8::int[]) AS w (instruction_id, inventory_id, quantity)
)
INSERT INTO refund_returns (instruction_id, refund_id, line, inventory_id, quantity)
SELECT w.instruction_id, $1, w.line, w.inventory_id, w.quantity
FROM unnest($5::uuid[], $6::smallint[], $7::uuid[], $8::int[])
    AS w (instruction_id, line, inventory_id, quantity)

-- name: create
-- updated_at of the payments tells the audit that their charges may change from now on.
WITH refund AS (
    INSERT INTO refunds (refund_id, order_id, amount_minor, shipping_minor, currency, reason,
                         requested_by, idempotency_key, request_hash)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    RETURNING refund_id
), lines AS (
    INSERT INTO refund_lines (refund_id, line, quantity, amount_minor)
    SELECT $1, l.line, l.quantity, l.amount_minor
    FROM unnest($10::smallint[], $11::int[], $12::bigint[]) AS l (line, quantity, amount_minor)
), parts AS (
    INSERT INTO refund_parts (refund_id, payment_id, amount_minor)
    SELECT $1, p.payment_id, p.amount_minor
    FROM unnest($13::uuid[], $14::bigint[]) AS p (payment_id, amount_minor)
)
UPDATE payments p SET refunded_minor = p.refunded_minor + a.amount_minor, updated_at = now()
FROM unnest($13::uuid[], $14::bigint[]) AS a (payment_id, amount_minor)
WHERE p.payment_id = a.payment_id

-- name: due
WITH open AS (
    SELECT r.refund_id FROM refunds r
    WHERE r.done_at IS NULL AND r.looked_at < $1
      AND EXISTS (SELECT FROM refund_parts p WHERE p.refund_id = r.refund_id
                    AND p.done_at IS NULL AND p.refused_at IS NULL)
    ORDER BY r.looked_at LIMIT $2 FOR UPDATE OF r SKIP LOCKED
)
UPDATE refunds r SET looked_at = now() FROM open
WHERE r.refund_id = open.refund_id RETURNING r.refund_id

-- name: find
SELECT r.*, o.user_id FROM refunds r JOIN orders o USING (order_id)
WHERE r.refund_id = ANY ($1::uuid[]) ORDER BY r.created_at, r.refund_id

-- name: find_lines
SELECT l.refund_id, l.line, i.variant_id, coalesce(v.sku, '') AS sku, l.quantity, l.amount_minor
FROM refund_lines l
JOIN refunds r USING (refund_id)
JOIN order_items i ON i.order_id = r.order_id AND i.line = l.line
LEFT JOIN product_variants v USING (variant_id)
WHERE l.refund_id = ANY ($1::uuid[]) ORDER BY l.refund_id, l.line

-- name: find_returns
SELECT b.refund_id, b.line, b.instruction_id, b.inventory_id, w.code AS warehouse, b.quantity,
       s.status, s.refusal
FROM refund_returns b
JOIN stock_instructions s USING (instruction_id)
JOIN inventory i ON i.inventory_id = b.inventory_id
JOIN warehouses w USING (warehouse_id)
WHERE b.refund_id = ANY ($1::uuid[]) ORDER BY b.refund_id, b.line, w.code, b.instruction_id

-- name: find_parts
SELECT r.refund_id, r.payment_id, r.amount_minor, r.done_at, r.refusal, r.settled_by, r.settled_note,
       p.part, p.gateway, p.transaction_id, p.amount_minor AS charge_minor, p.currency,
       p.payment_method, p.payment_token, p.customer, p.return_url, p.created_at
FROM refund_parts r JOIN payments p USING (payment_id)
WHERE r.refund_id = ANY ($1::uuid[]) ORDER BY r.refund_id, p.part

-- name: of_order
SELECT refund_id FROM refunds WHERE order_id = $1 ORDER BY created_at, refund_id

-- name: undone
SELECT refund_id FROM refunds WHERE done_at IS NULL ORDER BY created_at LIMIT $1

-- name: order_exists
SELECT currency FROM orders WHERE order_id = $1

-- name: lock_refund
-- Of two who note parts of one refund at once, the second sees what the first has noted.
SELECT refund_id FROM refunds WHERE refund_id = $1 FOR UPDATE

-- name: lock_payments_of_refund
SELECT p.payment_id FROM payments p JOIN refund_parts r USING (payment_id)
WHERE r.refund_id = $1 ORDER BY p.part FOR UPDATE OF p

-- name: note_done
UPDATE refund_parts SET done_at = now(), refused_at = NULL, refusal = NULL
WHERE refund_id = $1 AND payment_id = ANY ($2::uuid[]) AND done_at IS NULL

-- name: note_refused
UPDATE refund_parts p SET refused_at = now(), refusal = n.refusal
FROM unnest($2::uuid[], $3::text[]) AS n (payment_id, refusal)
WHERE p.refund_id = $1 AND p.payment_id = n.payment_id
  AND p.done_at IS NULL AND p.refused_at IS NULL

-- name: note_payments
-- A payment is refunded when all of it was asked back and given back.
UPDATE payments p SET status = 'refunded', updated_at = now()
FROM refund_parts own
WHERE own.refund_id = $1 AND p.payment_id = own.payment_id
  AND p.status = 'captured' AND p.refunded_minor = p.amount_minor
  AND NOT EXISTS (SELECT FROM refund_parts other
                  WHERE other.payment_id = p.payment_id AND other.done_at IS NULL)

-- name: note_refund
WITH finished AS (
    UPDATE refunds r SET done_at = now()
    WHERE r.refund_id = $1 AND r.done_at IS NULL
      AND NOT EXISTS (SELECT FROM refund_parts p
                      WHERE p.refund_id = r.refund_id AND p.done_at IS NULL)
    RETURNING r.refund_id
)
INSERT INTO outbox (event_id, type, subject, data)
SELECT $2, $3, $4, $5::text::jsonb FROM finished

-- name: retry
-- Parts that a provider refused are asked for again with the next pass.
WITH again AS (
    UPDATE refund_parts SET refused_at = NULL, refusal = NULL
    WHERE refund_id = $1 AND refused_at IS NOT NULL
    RETURNING refund_id
)
UPDATE refunds r SET looked_at = '-infinity'
WHERE r.refund_id IN (SELECT refund_id FROM again) RETURNING r.refund_id

-- name: settle_refused
-- Only what a provider has refused: what is open it may yet give back.
UPDATE refund_parts SET done_at = now(), refused_at = NULL, settled_by = $2, settled_note = $3
WHERE refund_id = $1 AND refused_at IS NOT NULL RETURNING payment_id
