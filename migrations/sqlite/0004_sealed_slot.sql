-- The entries of closed periods, as they were sealed: a row for each slot of each closing. Like the log it is never
-- changed, and cannot be folded from anything.
create table sealed_slot (
    key text primary key,
    subscription text not null,
    corrections integer not null,
    body blob not null
) strict;

-- Corrections are few, and looked for by slot, whatever period they are booked in.
create index sealed_slot_corrected on sealed_slot (subscription) where corrections > 0;

create trigger sealed_slot_is_never_updated before update on sealed_slot
begin
    select raise(abort, 'sealed entries are never changed');
end;

create trigger sealed_slot_is_never_deleted before delete on sealed_slot
begin
    select raise(abort, 'sealed entries are never deleted');
end;
