UPDATE flights SET dep_delay = dep_delay + 100, tailnum = NULL WHERE carrier = 'UA';
DELETE FROM flights WHERE origin = 'LGA';
