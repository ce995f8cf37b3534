//! What operators do, with the real `atrium`, on both databases: backups that are restored, installations
//! that go from one database to the other, the doctor, populations, servers that
//! only read. Whatever is refused changes nothing.

mod operations {
    mod backup;
    mod checkpoint;
    mod doctor;
    mod erasure;
    mod package;
    mod reading;
    mod seed;
    mod service;
    mod setting;
    mod standby;
    mod transfer;
}
