//! A database that lies in a folder that is somewhere in particular.

use std::path::Path;

use anyhow::Result;
use eventstore::Engine;

use super::cluster::Cluster;
use super::volume::Volume;
use crate::world::Place;

/// Of SQLite the folder itself; of PostgreSQL a server whose data are there.
#[derive(Debug)]
pub(super) struct Lodging {
    pub(super) place: Place,
    pub(super) cluster: Option<Cluster>,
}

impl Lodging {
    /// Makes an empty one in a folder.
    pub(super) fn in_folder(engine: Engine, folder: &Path) -> Result<Self> {
        match engine {
            Engine::Sqlite => Ok(Self { place: Place::Folder(folder.join("data")), cluster: None }),
            Engine::Postgres => {
                let cluster = Cluster::start(&folder.join("cluster"))?;
                Ok(Self { place: Place::Url(cluster.url.clone()), cluster: Some(cluster) })
            }
        }
    }

    /// What `scripts/postgres` has written is on the disk: whoever sets up a server sees to that, but the script is
    /// made for clusters that are thrown away. Of SQLite there is nothing to see to.
    pub(super) fn keep_settings(&self, volume: &Volume) -> Result<()> {
        if self.cluster.is_some() { volume.sync() } else { Ok(()) }
    }

    /// Stops the database's own processes, if it has any, until they are [let go on](Self::thaw).
    pub(super) fn freeze(&self) -> Result<()> {
        self.cluster.as_ref().map_or(Ok(()), Cluster::freeze)
    }

    /// Lets them go on.
    pub(super) fn thaw(&self) -> Result<()> {
        self.cluster.as_ref().map_or(Ok(()), Cluster::thaw)
    }

    /// Kills them.
    pub(super) fn kill(&self) -> Result<()> {
        self.cluster.as_ref().map_or(Ok(()), Cluster::kill)
    }

    /// Starts them again.
    pub(super) fn start_again(&self) -> Result<()> {
        self.cluster.as_ref().map_or(Ok(()), Cluster::start_again)
    }
}
