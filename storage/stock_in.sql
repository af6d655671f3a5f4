-- name: instruct
INSERT INTO stock_instructions (instruction_id, inventory_id, kind, quantity, actor, reason, reference)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (instruction_id) DO NOTHING

-- name: outcome
SELECT s.inventory_id, s.kind, s.quantity, s.status, s.refusal, m.quantity AS change, m.balance
FROM stock_instructions s LEFT JOIN stock_movements m USING (instruction_id)
WHERE s.instruction_id = $1

-- name: pending
SELECT instruction_id, inventory_id, kind, quantity
FROM stock_instructions WHERE status = 'pending'
ORDER BY created_at, instruction_id LIMIT $1

-- name: refuse
UPDATE stock_instructions SET status = 'refused', refusal = $2, settled_at = clock_timestamp()
WHERE instruction_id = $1 AND status = 'pending'

-- name: transfer
INSERT INTO stock_transfers (transfer_id, from_pair, to_pair, quantity, out_id, in_id)
VALUES ($1, $2, $3, $4, $5, $6)

-- name: arrivals
-- Transfers that have left and whose arrival nobody has asked for yet: ask now.
INSERT INTO stock_instructions (instruction_id, inventory_id, kind, quantity, actor, reason, reference)
SELECT t.in_id, t.to_pair, 'transfer_in', t.quantity, o.actor, o.reason, o.reference
FROM stock_transfers t JOIN stock_instructions o ON o.instruction_id = t.out_id
WHERE o.status = 'done'
  AND NOT EXISTS (SELECT FROM stock_instructions i WHERE i.instruction_id = t.in_id)
ORDER BY t.created_at LIMIT $1
ON CONFLICT (instruction_id) DO NOTHING

-- name: reloads
SELECT inventory_id, asked_at FROM stock_reloads ORDER BY asked_at LIMIT $1

-- name: reloaded
-- Unless it was asked for again meanwhile.
DELETE FROM stock_reloads WHERE inventory_id = $1 AND asked_at = $2

-- name: ask_reload_of_variant
INSERT INTO stock_reloads (inventory_id) SELECT inventory_id FROM inventory WHERE variant_id = $1
ON CONFLICT (inventory_id) DO UPDATE SET asked_at = clock_timestamp()

-- name: ask_reload
INSERT INTO stock_reloads (inventory_id) VALUES ($1)
ON CONFLICT (inventory_id) DO UPDATE SET asked_at = clock_timestamp()

-- name: set_policy
INSERT INTO stock_policies (variant_id, backorder, backorder_max, ships_from, customer_max)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (variant_id) DO UPDATE
SET backorder = excluded.backorder, backorder_max = excluded.backorder_max,
    ships_from = excluded.ships_from, customer_max = excluded.customer_max, updated_at = now()

-- name: policy
SELECT backorder, backorder_max, ships_from, customer_max FROM stock_policies WHERE variant_id = $1

-- name: variant_of_sku
SELECT variant_id FROM product_variants WHERE sku = $1

-- name: set_safety
INSERT INTO pair_rules (inventory_id, safety_stock) VALUES ($1, $2)
ON CONFLICT (inventory_id) DO UPDATE SET safety_stock = excluded.safety_stock, updated_at = now()

-- name: add_supplier
INSERT INTO suppliers (supplier_id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING

-- name: set_reorder
INSERT INTO reorder_rules (inventory_id, supplier_id, reorder_point, reorder_quantity)
SELECT $1, supplier_id, $3, $4 FROM suppliers WHERE name = $2
ON CONFLICT (inventory_id) DO UPDATE
SET supplier_id = excluded.supplier_id, reorder_point = excluded.reorder_point,
    reorder_quantity = excluded.reorder_quantity, updated_at = now()

-- name: due_for_reorder
-- One open order per pair: what is on order is not ordered again.
SELECT r.inventory_id, r.supplier_id, r.reorder_quantity
FROM reorder_rules r JOIN stock_now i USING (inventory_id)
WHERE i.quantity - i.backordered <= r.reorder_point
  AND NOT EXISTS (SELECT FROM purchase_orders p
                  WHERE p.inventory_id = r.inventory_id AND p.status = 'open')
ORDER BY r.inventory_id LIMIT $1

-- name: order_more
INSERT INTO purchase_orders (purchase_order_id, inventory_id, supplier_id, quantity)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::int[])
ON CONFLICT (inventory_id) WHERE status = 'open' DO NOTHING
RETURNING purchase_order_id

-- name: purchase_orders
SELECT p.purchase_order_id, p.inventory_id, v.sku, w.code AS warehouse, s.name AS supplier,
       p.quantity, p.status, p.ordered_at, p.settled_at
FROM purchase_orders p
JOIN suppliers s USING (supplier_id) JOIN inventory i USING (inventory_id)
JOIN product_variants v USING (variant_id) JOIN warehouses w USING (warehouse_id)
WHERE $1::text IS NULL OR p.status = $1
ORDER BY p.ordered_at DESC, p.purchase_order_id LIMIT $2

-- name: purchase_order
SELECT purchase_order_id, inventory_id, quantity, status, received_by
FROM purchase_orders WHERE purchase_order_id = $1

-- name: receive_order
-- Which delivery will close it; the owner's turn makes it so, this only says whose turn it is.
UPDATE purchase_orders SET received_by = $2
WHERE purchase_order_id = $1 AND status = 'open' AND received_by IS NULL

-- name: close_received
UPDATE purchase_orders p SET status = 'received', settled_at = clock_timestamp()
FROM stock_instructions s
WHERE s.instruction_id = p.received_by AND s.status = 'done' AND p.status = 'open'

-- name: reopen_refused
-- The delivery was refused: the order waits for another.
UPDATE purchase_orders p SET received_by = NULL
FROM stock_instructions s
WHERE s.instruction_id = p.received_by AND s.status = 'refused' AND p.status = 'open'

-- name: cancel_order
UPDATE purchase_orders SET status = 'cancelled', settled_at = clock_timestamp()
WHERE purchase_order_id = $1 AND status = 'open' AND received_by IS NULL

-- name: ledger
SELECT m.movement_id, v.sku, w.code AS warehouse, m.kind, m.quantity, m.balance, m.actor, m.reason,
       m.reference, m.created_at
FROM stock_movements m JOIN inventory i USING (inventory_id)
JOIN product_variants v USING (variant_id) JOIN warehouses w USING (warehouse_id)
WHERE m.movement_id > $1
  AND ($2::text IS NULL OR v.sku = $2) AND ($3::text IS NULL OR w.code = $3)
  AND ($4::timestamptz IS NULL OR m.created_at >= $4)
ORDER BY m.movement_id LIMIT $5
