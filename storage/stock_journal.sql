-- name: lock_owner
-- A statement of its own, before those that begin or end a generation: they must see each other's
-- rows, and what a statement sees is settled when it begins, not when it has got its locks.
SELECT pg_advisory_xact_lock(hashtextextended('stock_owners ' || $1, 0))

-- name: pool_is
SELECT stock_pool_is($1)

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
    RETURNING t.last_turn
), before AS (
    -- Of rows that were retired before, the snapshot knows the end; of this one, only RETURNING.
    SELECT last_turn FROM retired
    UNION ALL
    SELECT last_turn FROM stock_turns WHERE owner_name = $1
)
INSERT INTO stock_turns (owner_name, epoch, last_turn)
SELECT owner_name, epoch, coalesce((SELECT max(last_turn) FROM before), 0) FROM raised
RETURNING epoch

-- name: checkpoint
SELECT stock_checkpoint($1, $2)

-- name: load_pairs
-- One statement, one snapshot: a row, and the reservations that explain it. Who waits for stock
-- comes in the order they came, also those of confirmed orders.
SELECT i.inventory_id, i.variant_id, i.quantity, i.reserved, i.version, i.logged_to,
       i.owner_name, coalesce(u.safety_stock, 0) AS safety_stock,
       CASE WHEN p.backorder IS DISTINCT FROM 'deny' THEN coalesce(p.backorder_max, 0) ELSE 0 END
           AS backorder_max,
       coalesce(p.customer_max, 0) AS customer_max,
       h.*, w.*
FROM inventory i
LEFT JOIN stock_policies p USING (variant_id)
LEFT JOIN pair_rules u USING (inventory_id)
CROSS JOIN LATERAL (
    SELECT array_agg(r.reservation_id) AS hold_ids, array_agg(r.order_id) AS order_ids,
           array_agg(r.quantity) AS quantities,
           array_agg(extract(epoch FROM r.expires_at)::float8) AS expires_at,
           array_agg(r.backordered) AS backordered, array_agg(r.extension_id) AS extension_ids,
           array_agg(r.customer_id) AS customer_ids
    FROM inventory_reservations r
    WHERE r.inventory_id = i.inventory_id AND r.status = 'active') h
CROSS JOIN LATERAL (
    SELECT array_agg(r.reservation_id ORDER BY r.created_at, r.reservation_id) AS waiting_ids,
           array_agg(r.quantity ORDER BY r.created_at, r.reservation_id) AS waiting_quantities
    FROM inventory_reservations r
    WHERE i.backordered > 0 AND r.inventory_id = i.inventory_id AND r.backordered) w
WHERE i.inventory_id = ANY ($1::uuid[])

-- name: units_of
SELECT u.variant_id, u.customer_id, u.units
FROM unnest($1::uuid[], $2::uuid[]) AS c (variant_id, customer_id)
JOIN customer_units u USING (variant_id, customer_id)

-- name: instructions
SELECT instruction_id, inventory_id, kind, quantity, status
FROM stock_instructions WHERE instruction_id = ANY ($1::uuid[])

-- name: write_plain_turn
SELECT stock_turn_plain($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: write_turn
SELECT reservation_id, inventory_id, quantity, backordered
FROM stock_turn($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)

-- name: find
SELECT reservation_id, status::text AS status, inventory_id, order_id, quantity, backordered,
       extension_id, customer_id, extract(epoch FROM expires_at)::float8 AS expires_at
FROM inventory_reservations WHERE reservation_id = ANY ($1::uuid[])

-- name: settled
SELECT reservation_id FROM inventory_reservations
WHERE reservation_id = ANY ($1::uuid[]) AND status <> 'active'

-- name: find_as_owner
-- At least one row: whether the fence still holds.
SELECT f.fresh, r.reservation_id, r.status::text AS status, r.inventory_id, r.order_id, r.quantity,
       r.backordered, r.extension_id, r.customer_id,
       extract(epoch FROM r.expires_at)::float8 AS expires_at
FROM (SELECT EXISTS (SELECT FROM stock_turns t
                     WHERE t.owner_name = $2 AND t.epoch = $3 AND NOT t.retired) AS fresh) f
LEFT JOIN inventory_reservations r ON r.reservation_id = ANY ($1::uuid[])

-- name: reclaim
-- Fences a dedicated owner that is gone and takes its pairs home, at once. The row lock on its
-- generation waits for a turn that is being committed; after it, none can be.
WITH raised AS (
    UPDATE stock_owners SET epoch = epoch + 1, node = '', pid = 0, started_at = clock_timestamp()
    WHERE owner_name = $1
    RETURNING owner_name, epoch
), retired AS (
    UPDATE stock_turns t SET retired = true
    FROM raised WHERE t.owner_name = raised.owner_name AND NOT t.retired
    RETURNING t.last_turn
), before AS (
    SELECT last_turn FROM retired
    UNION ALL
    SELECT last_turn FROM stock_turns WHERE owner_name = $1
)
INSERT INTO stock_turns (owner_name, epoch, last_turn, retired)
SELECT owner_name, epoch, coalesce((SELECT max(last_turn) FROM before), 0) + 1, true FROM raised

-- name: log_of_reclaimed
SELECT stock_log_into_rows(owner_name, last_turn) FROM stock_turns
WHERE owner_name = $1 ORDER BY epoch DESC LIMIT 1

-- name: take_home
WITH taken AS (
    UPDATE inventory SET owner_name = '', version = version + 1
    WHERE owner_name = $1 RETURNING inventory_id
)
INSERT INTO pair_handovers (inventory_id, from_owner, from_epoch, to_owner)
-- An owner that never started may have been given pairs all the same.
SELECT t.inventory_id, $1, coalesce(o.epoch, 0), ''
FROM taken t LEFT JOIN stock_owners o ON o.owner_name = $1
RETURNING inventory_id

-- name: abandoned
SELECT r.reservation_id, r.inventory_id, r.expires_at <= now() AS overdue
FROM inventory_reservations r
LEFT JOIN orders o ON o.order_id = r.order_id
WHERE r.status = 'active'
  -- What has just run out is its owner's: having it look costs the pair's whole state.
  AND (r.expires_at <= now() - interval '1 second'
       OR (r.expires_at > now() AND r.created_at <= now() - make_interval(secs => $1)
           AND coalesce(o.status NOT IN ('pending', 'in_review', 'accepted', 'awaiting_payment'), true)))
ORDER BY r.expires_at
LIMIT $2
