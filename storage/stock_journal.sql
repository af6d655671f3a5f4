-- name: raise_epoch
WITH raised AS (
    INSERT INTO stock_owners (owner_name, epoch, node, pid) VALUES ($1, 1, $2, $3)
    ON CONFLICT (owner_name) DO UPDATE
        SET epoch = stock_owners.epoch + 1, node = $2, pid = $3, started_at = clock_timestamp()
    RETURNING owner_name, epoch
), retired AS (
    -- Waits for a turn that is being committed under the older generation.
    UPDATE stock_turns t SET retired = true
    FROM raised WHERE t.owner_name = raised.owner_name AND NOT t.retired
    RETURNING t.epoch
)
INSERT INTO stock_turns (owner_name, epoch)
SELECT owner_name, epoch FROM raised WHERE (SELECT count(*) FROM retired) >= 0
RETURNING epoch

-- name: load_pairs
SELECT inventory_id, variant_id, quantity, version
FROM inventory WHERE inventory_id = ANY ($1::uuid[])

-- name: load_holds
SELECT r.inventory_id, r.reservation_id, r.order_id, r.quantity,
       extract(epoch FROM r.expires_at)::float8 AS expires_at
FROM inventory_reservations r
WHERE r.inventory_id = ANY ($1::uuid[]) AND r.status = 'active'

-- name: write_turn
SELECT reservation_id, inventory_id, quantity
FROM stock_turn($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: find
SELECT reservation_id, status::text AS status, inventory_id, order_id, quantity,
       extract(epoch FROM expires_at)::float8 AS expires_at
FROM inventory_reservations WHERE reservation_id = ANY ($1::uuid[])

-- name: abandoned
SELECT r.reservation_id, r.inventory_id, r.expires_at <= now() AS overdue
FROM inventory_reservations r
LEFT JOIN orders o ON o.order_id = r.order_id
WHERE r.status = 'active'
  AND (r.expires_at <= now()
       OR (r.created_at <= now() - make_interval(secs => $1) AND o.status IS DISTINCT FROM 'pending'))
ORDER BY r.expires_at
LIMIT $2
