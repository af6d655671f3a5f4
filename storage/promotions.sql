-- name: add
INSERT INTO promotions (promotion_id, code, label, kind, percent_bps, amount_minor, buy_quantity,
    get_quantity, product_ids, variant_ids, categories, minimum_minor, currency, starts_at, ends_at,
    uses_max, uses_per_customer_max, exclusive, priority)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT (code) DO NOTHING
RETURNING promotion_id

-- name: add_counter
INSERT INTO promotion_counters (promotion_id, uses_max) VALUES ($1, $2)

-- name: lock_adding
-- One at a time, so that two cannot both be the last for which there is room.
SELECT pg_advisory_xact_lock(1146049109)

-- name: live
-- Promotions that are not over, and how many of them are automatic.
SELECT count(*) AS live, count(*) FILTER (WHERE code IS NULL) AS automatic
FROM promotions WHERE ends_at IS NULL OR ends_at > now()

-- name: finish
UPDATE promotions SET ends_at = GREATEST(now(), starts_at + interval '1 microsecond'),
       changed_xid = pg_current_xact_id()
WHERE (code = $1 OR promotion_id::text = $2) AND (ends_at IS NULL OR ends_at > now())
RETURNING promotion_id

-- name: horizon
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: changed
-- Those that changed, or became full or free, in a transaction that may have been unfinished at
-- the last look. What is over for long is not told of any more.
SELECT p.*, COALESCE(c.uses >= c.uses_max, false) AS used_up
FROM promotions p LEFT JOIN promotion_counters c USING (promotion_id)
WHERE p.promotion_id IN (
    SELECT promotion_id FROM promotions WHERE changed_xid >= $1::text::xid8
    UNION ALL
    SELECT promotion_id FROM promotion_counters WHERE full_xid >= $1::text::xid8
) AND (p.ends_at IS NULL OR p.ends_at > now() - $2::interval)
ORDER BY p.created_at DESC, p.promotion_id
LIMIT $3

-- name: overview
SELECT p.*, COALESCE(c.uses >= c.uses_max, false) AS used_up,
       (SELECT count(*) FROM promotion_redemptions r
        WHERE r.promotion_id = p.promotion_id AND r.state = 'redeemed') AS uses
FROM promotions p LEFT JOIN promotion_counters c USING (promotion_id)
WHERE $1 OR p.ends_at IS NULL OR p.ends_at > now()
ORDER BY p.created_at DESC, p.promotion_id
LIMIT $2

-- name: exhausted
SELECT promotion_id FROM promotion_customers WHERE user_id = $1 AND promotion_id = ANY ($2::uuid[])
    AND uses >= uses_max

-- name: redeem
SELECT asked_order, outcome, because FROM redeem_promotions($1::uuid[], $2::uuid[], $3::uuid[])

-- name: give_back
SELECT return_promotions($1::uuid[])

-- name: settle
-- Orders that stand: their uses need not be looked at again.
UPDATE promotion_redemptions r SET settled_at = now()
FROM (
    SELECT r.order_id, r.promotion_id
    FROM promotion_redemptions r JOIN orders o USING (order_id)
    WHERE r.state = 'redeemed' AND r.settled_at IS NULL AND r.created_at < $1
      AND o.status NOT IN ('pending', 'in_review', 'accepted', 'awaiting_payment', 'failed')
    ORDER BY r.order_id, r.promotion_id LIMIT $2
    FOR UPDATE OF r SKIP LOCKED
) standing
WHERE r.order_id = standing.order_id AND r.promotion_id = standing.promotion_id

-- name: orphans
-- Orders that failed, or never came to be.
SELECT r.order_id
FROM promotion_redemptions r LEFT JOIN orders o USING (order_id)
WHERE r.state = 'redeemed' AND r.settled_at IS NULL AND r.created_at < $1
  AND (o.order_id IS NULL OR o.status = 'failed')
ORDER BY r.created_at LIMIT $2

-- name: violations
-- Counters that are not what the redemptions say, and uses beyond a maximum, by the redemptions
-- alone: one row per thing that is wrong.
WITH used AS (
    SELECT promotion_id, count(*) AS uses FROM promotion_redemptions
    WHERE state = 'redeemed' GROUP BY promotion_id
), used_by AS (
    SELECT r.promotion_id, r.user_id, count(*) AS uses FROM promotion_redemptions r
    JOIN promotions p USING (promotion_id)
    WHERE r.state = 'redeemed' AND p.uses_per_customer_max IS NOT NULL
    GROUP BY r.promotion_id, r.user_id
)
SELECT 'counter_differs' AS what, p.promotion_id, NULL::uuid AS user_id,
       c.uses AS counted, COALESCE(u.uses, 0) AS redeemed, p.uses_max
FROM promotions p
LEFT JOIN promotion_counters c USING (promotion_id) LEFT JOIN used u USING (promotion_id)
WHERE p.uses_max IS NOT NULL
  AND (c.uses, c.uses_max) IS DISTINCT FROM (COALESCE(u.uses, 0), p.uses_max)
UNION ALL
SELECT 'over_the_maximum', p.promotion_id, NULL, NULL, u.uses, p.uses_max
FROM promotions p JOIN used u USING (promotion_id) WHERE u.uses > p.uses_max
UNION ALL
SELECT 'counter_of_customer_differs', COALESCE(c.promotion_id, u.promotion_id),
       COALESCE(c.user_id, u.user_id), c.uses, COALESCE(u.uses, 0), c.uses_max
FROM promotion_customers c FULL JOIN used_by u USING (promotion_id, user_id)
WHERE c.uses IS DISTINCT FROM COALESCE(u.uses, 0)
UNION ALL
SELECT 'over_the_maximum_of_a_customer', u.promotion_id, u.user_id, NULL, u.uses,
       p.uses_per_customer_max
FROM used_by u JOIN promotions p USING (promotion_id) WHERE u.uses > p.uses_per_customer_max
UNION ALL
SELECT 'unknown_promotion', u.promotion_id, NULL, NULL, u.uses, NULL
FROM used u WHERE NOT EXISTS (SELECT FROM promotions p WHERE p.promotion_id = u.promotion_id)
UNION ALL
-- A standing order that was charged less by a promotion, of which no use is counted.
SELECT 'order_without_redemption', (q.one ->> 'promotion_id')::uuid, o.user_id, NULL, 0, NULL
FROM orders o, jsonb_array_elements(o.pricing -> 'promotions') AS q (one)
WHERE o.status NOT IN ('pending', 'failed', 'cancelled') AND NOT EXISTS (
    SELECT FROM promotion_redemptions r
    WHERE r.order_id = o.order_id AND r.promotion_id = (q.one ->> 'promotion_id')::uuid)
ORDER BY 1, 2, 3 LIMIT $1

-- name: unbalanced_orders
-- Priced orders whose lines do not add up to the order's tax and discount.
SELECT o.order_id
FROM orders o
JOIN LATERAL (
    SELECT COALESCE(sum(i.subtotal_minor), 0) AS subtotal, COALESCE(sum(i.tax_minor), 0) AS tax,
           COALESCE(sum(i.discount_minor), 0) AS discount
    FROM order_items i WHERE i.order_id = o.order_id
) lines ON true
WHERE o.pricing IS NOT NULL AND (
    lines.subtotal <> o.subtotal_minor OR lines.tax <> o.tax_minor
    OR lines.discount + (o.pricing ->> 'shipping_discount_minor')::bigint <> o.discount_minor)
ORDER BY o.order_id LIMIT $1
