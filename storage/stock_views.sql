-- name: owners
SELECT owner_name, epoch, node, pid, started_at,
       extract(epoch FROM clock_timestamp() - started_at)::float8 AS age_s
FROM stock_owners

-- name: generations
SELECT epoch, turns, first_at, last_at, retired FROM stock_turns
WHERE owner_name = $1 ORDER BY epoch DESC LIMIT $2

-- name: dedicated
SELECT i.inventory_id, i.owner_name, v.sku, w.code AS warehouse
FROM inventory i JOIN product_variants v USING (variant_id) JOIN warehouses w USING (warehouse_id)
WHERE i.owner_name <> ''
ORDER BY v.sku, w.code LIMIT $1

-- name: ids
-- Each of these reads a page along an index from where the last page ended. One query per way
-- in, not one with all filters: a plan that serves every filter reads the whole table.
SELECT inventory_id FROM inventory
WHERE inventory_id > $1 AND ($3::text IS NULL OR owner_name = $3)
ORDER BY inventory_id LIMIT $2

-- name: ids_of_warehouse
SELECT i.inventory_id FROM inventory i
WHERE i.inventory_id > $1 AND ($3::text IS NULL OR i.owner_name = $3)
  AND i.warehouse_id = (SELECT warehouse_id FROM warehouses WHERE code = $4)
ORDER BY i.inventory_id LIMIT $2

-- name: ids_of_sku
SELECT i.inventory_id
FROM product_variants v JOIN inventory i USING (variant_id) JOIN warehouses w USING (warehouse_id)
WHERE v.sku = $6 AND i.inventory_id > $1 AND ($3::text IS NULL OR i.owner_name = $3)
  AND ($4::text IS NULL OR w.code = $4) AND ($5::uuid IS NULL OR i.product_id = $5)
ORDER BY i.inventory_id LIMIT $2

-- name: ids_of_product
SELECT i.inventory_id FROM inventory i JOIN warehouses w USING (warehouse_id)
WHERE i.product_id = $5 AND i.inventory_id > $1 AND ($3::text IS NULL OR i.owner_name = $3)
  AND ($4::text IS NULL OR w.code = $4)
ORDER BY i.inventory_id LIMIT $2

-- name: ids_of_dedicated
-- Few by nature; the second condition is what lets the partial index be used.
SELECT i.inventory_id FROM inventory i JOIN warehouses w USING (warehouse_id)
WHERE i.owner_name = $3 AND i.owner_name <> '' AND i.inventory_id > $1
  AND ($4::text IS NULL OR w.code = $4)
ORDER BY i.inventory_id LIMIT $2

-- name: pairs
SELECT i.inventory_id, v.sku, w.code AS warehouse, i.product_id, p.name AS product_name,
       i.quantity AS available, i.reserved, i.backordered, i.quantity + i.reserved AS on_hand,
       coalesce(r.safety_stock, 0) AS safety_stock, coalesce(s.backorder, 'deny') AS backorder,
       coalesce(s.backorder_max, 0) AS backorder_max, s.ships_from,
       coalesce(s.customer_max, 0) AS customer_max, i.version, i.owner_name, i.updated_at
FROM stock_now i
JOIN product_variants v USING (variant_id) JOIN warehouses w USING (warehouse_id)
JOIN products p ON p.product_id = i.product_id
LEFT JOIN stock_policies s USING (variant_id) LEFT JOIN pair_rules r USING (inventory_id)
WHERE i.inventory_id = ANY ($1::uuid[])
ORDER BY i.inventory_id

-- name: handovers
SELECT from_owner, from_epoch, to_owner, at FROM pair_handovers
WHERE inventory_id = $1 ORDER BY handover_id DESC LIMIT $2

-- name: open_reservations
SELECT count(*) FROM inventory_reservations WHERE inventory_id = $1 AND status = 'active'

-- name: movements
SELECT movement_id, kind, quantity, balance, actor, reason, reference, created_at
FROM stock_movements WHERE inventory_id = $1 ORDER BY movement_id DESC LIMIT $2
