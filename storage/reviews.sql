-- name: queue
-- Order ids sort by time: the oldest first.
SELECT * FROM orders WHERE status = 'in_review' AND order_id > $1 ORDER BY order_id LIMIT $2

-- name: decided
-- The newest decision first; a page goes on after the order that the one before ended with.
SELECT * FROM orders
WHERE reviewed_at IS NOT NULL
  AND ($1::uuid IS NULL OR (reviewed_at, order_id) <
       (SELECT a.reviewed_at, a.order_id FROM orders a WHERE a.order_id = $1))
ORDER BY reviewed_at DESC, order_id DESC LIMIT $2

-- name: find
SELECT * FROM orders WHERE order_id = $1 AND fraud_action = 'review'

-- name: lines
SELECT i.order_id, i.name, i.quantity, i.unit_price_minor, v.sku
FROM order_items i LEFT JOIN product_variants v USING (variant_id)
WHERE i.order_id = ANY ($1::uuid[]) ORDER BY i.order_id, i.line

-- name: waiting
SELECT count(*) FROM orders WHERE status = 'in_review'

-- name: accept
-- Only while there is time: what is over, recovery fails. Whoever accepts settles at once;
-- recovery looks after it should that end halfway.
UPDATE orders SET status = 'accepted', waits_until = greatest(waits_until, $5::timestamptz),
       looked_at = $4, updated_at = now(), reviewed_at = $4, reviewed_by = $2, review_note = $3,
       review_decision = 'approve'
WHERE order_id = $1 AND status = 'in_review' AND waits_until > $4::timestamptz
