pub mod system_tables;
